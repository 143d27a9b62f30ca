/** Names of rooms, participants and people, as the server accepts them. */
const NAME = /^[A-Za-z0-9_-]{1,64}$/;

export function isName(text: string): boolean {
  return NAME.test(text);
}

/** What is wrong with a name, in words for the person who typed it; null when nothing is. */
export function nameProblem(text: string, what: string): string | null {
  if (isName(text)) return null;
  if (text === "") return `${what} is empty.`;
  if (text.length > 64) return `${what} has ${text.length} characters; 64 is the most.`;
  const odd = [...new Set([...text].filter((character) => !isName(character)))];
  const shown = odd.map((character) => (character === " " ? "a space" : `“${character}”`)).join(", ");
  return `${what} may hold letters without accents, digits, - and _ only, not ${shown}.`;
}
