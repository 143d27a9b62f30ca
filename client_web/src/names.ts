import { t } from "./strings";

/** Names of rooms, participants and people, as the server accepts them. */
const NAME = /^[A-Za-z0-9_-]{1,64}$/;

export function isName(text: string): boolean {
  return NAME.test(text);
}

/** What is wrong with a name, in words for the person who typed it; null when nothing is. */
export function nameProblem(text: string, what: string): string | null {
  if (isName(text)) return null;
  if (text === "") return t.names.empty(what);
  if (text.length > 64) return t.names.long(what, text.length);
  const odd = [...new Set([...text].filter((character) => !isName(character)))];
  const shown = odd.map((character) => (character === " " ? t.names.space : `“${character}”`)).join(", ");
  return t.names.odd(what, shown);
}
