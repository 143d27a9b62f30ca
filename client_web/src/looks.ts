import { el } from "./dom";
import { keepLanguage, language, LANGUAGES, t, type Language } from "./strings";

const STORED = "hime.look";
const LOOKS = ["auto", "light", "dark"] as const;
const CHANGED = "look";
type Look = (typeof LOOKS)[number];

function stored(): Look {
  const look = localStorage.getItem(STORED);
  return LOOKS.find((each) => each === look) ?? "auto";
}

const devicesOwn = (): MediaQueryList => matchMedia("(prefers-color-scheme: light)");

/** Light or dark as the device asks for, unless the user has chosen: here, or in another tab. */
export function followLook(): void {
  applyLook(stored());
  addEventListener("storage", ({ key }) => {
    if (key === STORED) applyLook(stored());
  });
}

function applyLook(look: Look): void {
  localStorage.setItem(STORED, look);
  document.documentElement.dataset.look = look;
  dispatchEvent(new Event(CHANGED));
}

export function isLight(): boolean {
  const look = stored();
  return look === "light" || (look === "auto" && devicesOwn().matches);
}

/** Calls whenever it may have become light or dark, until the signal. */
export function onLook(handler: () => void, signal: AbortSignal): void {
  addEventListener(CHANGED, handler, { signal });
  devicesOwn().addEventListener("change", handler, { signal });
}

/** A label and a list to choose the look from. */
export function lookChoice(id: string): HTMLElement[] {
  const select = el("select", { id }, LOOKS.map((look) => el("option", { value: look }, [t.looks[look]])));
  select.value = stored();
  select.addEventListener("change", () => applyLook(select.value as Look));
  return [el("label", { for: id }, [t.page.look]), select];
}

/** A label and a list to choose the language from, which loads the page anew. */
export function languageChoice(id: string): HTMLElement[] {
  const names = Object.entries(LANGUAGES);
  const select = el("select", { id }, names.map(([value, name]) => el("option", { value, lang: value }, [name])));
  select.value = language;
  select.addEventListener("change", () => {
    keepLanguage(select.value as Language);
    location.reload();
  });
  return [el("label", { for: id }, [t.page.language]), select];
}
