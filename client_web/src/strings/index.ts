import { de } from "./de";
import { en, type Strings } from "./en";
import { es } from "./es";

/** Each in its own words. */
export const LANGUAGES = { en: "English", de: "Deutsch", es: "Español" } as const;
export type Language = keyof typeof LANGUAGES;

const STORED = "hime.language";
const ALL: Record<Language, Strings> = { en, de, es };

/** The first of the user's languages (BCP 47 tags) that there is; English where there is none. */
export function preferred(chosen: string | null, wanted: readonly string[]): Language {
  const found = [chosen ?? "", ...wanted].map((tag) => tag.split("-")[0]!.toLowerCase());
  return (found.find((each) => each in ALL) as Language | undefined) ?? "en";
}

const inPage = typeof document !== "undefined" && typeof localStorage !== "undefined";
export const language: Language = inPage ? preferred(localStorage.getItem(STORED), navigator.languages) : "en";
export const t: Strings = ALL[language];

/** Kept for the next visits too; the page must be loaded anew to show it. */
export function keepLanguage(chosen: Language): void {
  localStorage.setItem(STORED, chosen);
}

/** A number of the user's language, with so many digits after its point. */
export function numeral(value: number, digits = 0): string {
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false });
}

/** Puts the words into what the page's HTML holds: text by `data-t`, names by `data-t-label`, each with its place in `words`. */
export function fillIn(root: Document, words: object = t.page): void {
  root.documentElement.lang = language;
  const at = (place: string): string =>
    place.split(".").reduce<unknown>((found, key) => (found as Record<string, unknown>)[key], words) as string;
  for (const element of root.querySelectorAll<HTMLElement>("[data-t]")) element.textContent = at(element.dataset.t!);
  for (const element of root.querySelectorAll<HTMLElement>("[data-t-label]")) {
    element.setAttribute("aria-label", at(element.dataset.tLabel!));
    if (element.matches("button, a")) element.title = at(element.dataset.tLabel!);
  }
}
