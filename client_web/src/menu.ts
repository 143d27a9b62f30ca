import { el } from "./dom";
import { icon } from "./icons";

export interface ExplainedOption<T extends string> {
  value: T;
  text: string;
  /** For buttons that have little room. */
  short: string;
  hint: string;
}

const MARGIN = 8;

/**
 * A button that tells the choice and opens a list of all, each with a line that explains it. The list closes by a
 * click on a choice, by Escape or by a click elsewhere.
 */
export function explainedChoice<T extends string>(
  label: string,
  options: readonly ExplainedOption<T>[],
  value: T,
  onChange: (value: T) => void,
): HTMLElement {
  const button = el("button", { type: "button", class: "choice" });
  const choose = ({ text, short, hint }: ExplainedOption<T>): void => {
    button.replaceChildren(el("span", { class: "long" }, [text]), el("span", { class: "short" }, [short]), icon("down"));
    button.setAttribute("aria-label", `${label}: ${text}`);
    button.title = hint;
  };
  const rows = options.map((option) => {
    const radio = el("input", { type: "radio", name: "choice" });
    radio.checked = option.value === value;
    radio.addEventListener("change", () => {
      choose(option);
      onChange(option.value);
    });
    return el("label", {}, [radio, el("span", {}, [el("b", {}, [option.text]), el("small", {}, [option.hint])])]);
  });
  // a form of its own, so that its radio buttons are a group of their own
  const list = el("form", { class: "choices", popover: "auto", role: "radiogroup", "aria-label": label }, rows);
  button.popoverTargetElement = list;
  list.addEventListener("beforetoggle", () => {
    const { left, top } = button.getBoundingClientRect();
    list.style.left = `${Math.max(MARGIN, Math.min(left, innerWidth - 320 - MARGIN))}px`;
    list.style.bottom = `${innerHeight - top + MARGIN}px`;
    list.style.maxHeight = `${top - 2 * MARGIN}px`;
  });
  list.addEventListener("click", (event) => {
    if (event.detail > 0) list.hidePopover(); // not for arrow keys, which click as well
  });
  choose(options.find((option) => option.value === value)!);
  return el("div", { class: "explained" }, [button, list]);
}
