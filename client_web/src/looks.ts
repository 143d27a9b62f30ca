import { el } from "./dom";
import { keepLanguage, language, LANGUAGES, t, type Language } from "./strings";

const STORED = "hime.look";
const LOOKS = ["auto", "light", "dark"] as const;
type Look = (typeof LOOKS)[number];

function stored(): Look {
  const look = localStorage.getItem(STORED);
  return LOOKS.find((each) => each === look) ?? "auto";
}

/** Light or dark as the device asks for, unless the user has chosen. */
export function applyLook(look: Look = stored()): void {
  localStorage.setItem(STORED, look);
  document.documentElement.dataset.look = look;
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
