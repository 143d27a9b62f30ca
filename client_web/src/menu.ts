import { el } from "./dom";
import { icon } from "./icons";

export interface ExplainedOption<T extends string> {
  value: T;
  text: string;
  hint: string;
}

const MARGIN = 8;

/** A button that opens a list of what is needed less often. The list closes by Escape or a click elsewhere. */
export function moreMenu(button: HTMLButtonElement, label: string, entries: readonly HTMLElement[]): HTMLElement {
  const list = el("div", { class: "menu", popover: "auto", role: "group", "aria-label": label }, [...entries]);
  button.popoverTargetElement = list;
  list.addEventListener("beforetoggle", () => {
    const { left, right, top, bottom } = button.getBoundingClientRect();
    const start = left + right > innerWidth ? right - list.offsetWidth : left;
    list.style.left = `${Math.max(MARGIN, start)}px`;
    // on the side with more room
    const above = top > innerHeight - bottom;
    list.style.bottom = above ? `${innerHeight - top + MARGIN}px` : "auto";
    list.style.top = above ? "auto" : `${bottom + MARGIN}px`;
    list.style.maxHeight = `${(above ? top : innerHeight - bottom) - 2 * MARGIN}px`;
  });
  list.addEventListener("toggle", () => {
    // its width is known only now
    const { left, right } = button.getBoundingClientRect();
    if (left + right > innerWidth) list.style.left = `${Math.max(MARGIN, right - list.offsetWidth)}px`;
  });
  return el("div", { class: "more" }, [button, list]);
}

/** An entry that does something and closes the list. `text` is asked for each time it is shown. */
export function entry(name: Parameters<typeof icon>[0], text: string, act: () => void): HTMLButtonElement {
  const button = el("button", { type: "button", class: "entry" }, [icon(name), el("span", {}, [text])]);
  button.addEventListener("click", () => {
    button.closest<HTMLElement>("[popover]")?.hidePopover();
    act();
  });
  return button;
}

/** Gives an entry other words. */
export function rename(button: HTMLButtonElement, text: string): void {
  button.lastElementChild!.textContent = text;
}

/** Choices that exclude each other, each with a line that explains it. */
export function explainedChoice<T extends string>(
  label: string,
  options: readonly ExplainedOption<T>[],
  value: T,
  onChange: (value: T) => void,
): HTMLElement {
  const rows = options.map((option) => {
    const radio = el("input", { type: "radio", name: "choice" });
    radio.checked = option.value === value;
    radio.addEventListener("change", () => onChange(option.value));
    return el("label", {}, [radio, el("span", {}, [el("b", {}, [option.text]), el("small", {}, [option.hint])])]);
  });
  // a form of its own, so that its radio buttons are a group of their own
  const form = el("form", { class: "choices", role: "radiogroup", "aria-label": label }, rows);
  form.addEventListener("click", (event) => {
    if (event.detail > 0) form.closest<HTMLElement>("[popover]")?.hidePopover(); // not for arrow keys, which click as well
  });
  return form;
}
