import { t } from "./strings";

/** What `GET /api/rooms/{room}/{participant}/bank` tells. */
export interface BankExemplar {
  id: string;
  person: number;
  source: "call" | "photo";
  age_frames: number;
  age_seconds: number;
  sharpness: number;
  yaw: number;
  native_px: number;
  thumbnail: string;
}
export interface BankPerson {
  id: number;
  name: string | null;
  state: "here" | "away" | "unmatched";
  since_seconds: number | null;
  seen_seconds_ago: number | null;
  exemplars: number;
}
export interface BankFace {
  person: number;
  verdict: "new" | "unsure" | "recognised" | "covered";
  side: number;
  exemplars: number;
  reason: string | null;
}
export interface Bank {
  participant: string;
  exemplars: BankExemplar[];
  people: BankPerson[];
  faces: BankFace[];
}

/** A headshot's side, in pixels, from which on a face can be told from a stranger's. */
const TELLING_SIDE = 48;

export function ageInWords(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** Names by id; who has none is numbered in the order of becoming known. */
export function namesOf(people: readonly BankPerson[]): Map<number, string> {
  let unnamed = 0;
  return new Map(people.map(({ id, name }) => [id, name ?? t.bank.person(++unnamed)]));
}

/** Whether the person is in the picture, and since when it is known. */
export function presenceInWords(person: BankPerson): string {
  if (person.state === "unmatched") return t.bank.unmatched;
  const known = t.bank.known(ageInWords(person.since_seconds ?? 0));
  return person.state === "here" ? t.bank.here(known) : t.bank.away(ageInWords(person.seen_seconds_ago ?? 0), known);
}

/** From what the person's face is enhanced, or would be. */
export function exemplarsInWords(person: BankPerson): string {
  if (person.state !== "unmatched") return person.exemplars > 0 ? t.bank.exemplars(person.exemplars) : t.bank.noExemplars;
  if (person.exemplars === 0) return t.bank.noPhotos;
  return t.bank.aside(person.exemplars);
}

/** What becomes of a face, and why. */
export function fateInWords(face: BankFace): string {
  if (face.reason !== null) return t.bank.not(t.bank.reasons[face.reason] ?? face.reason);
  return face.exemplars > 0 ? t.bank.from(face.exemplars) : t.bank.alone;
}

/** Whose registered photos match no face; null while no face is there that is large enough to tell. */
export function setAside(bank: Bank): string[] | null {
  const telling = bank.faces.some(({ side, verdict }) => side >= TELLING_SIDE && verdict !== "covered" && verdict !== "unsure");
  const unmatched = bank.people.filter(({ state, exemplars }) => state === "unmatched" && exemplars > 0);
  if (!telling && unmatched.length > 0) return null;
  return unmatched.map(({ name }) => name!);
}
