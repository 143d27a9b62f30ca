/** An element with attributes and children; strings become text, never markup. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  children: (Node | string)[] = [],
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** An element that the page's HTML must hold. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page holds no #${id}.`);
  return element as T;
}

/** A row of mutually exclusive buttons (an ARIA radio group with roving focus). */
export function segmented<T extends string>(
  label: string,
  options: readonly { value: T; text: string; hint?: string }[],
  value: T,
  onChange: (value: T) => void,
): HTMLElement {
  const buttons = options.map((option) =>
    el("button", { type: "button", role: "radio", "data-value": option.value, title: option.hint ?? "" }, [option.text]),
  );
  const choose = (index: number): void => {
    buttons.forEach((button, at) => {
      button.setAttribute("aria-checked", String(at === index));
      button.tabIndex = at === index ? 0 : -1;
    });
  };
  buttons.forEach((button, index) => {
    button.addEventListener("click", () => {
      choose(index);
      onChange(options[index]!.value);
    });
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = buttons[(index + step + buttons.length) % buttons.length]!;
      next.focus();
      next.click();
    });
  });
  choose(options.findIndex((option) => option.value === value));
  return el("div", { class: "segmented", role: "radiogroup", "aria-label": label }, buttons);
}
