import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PhotosAside } from "../src/aside";
import {
  exemplarsInWords,
  fateInWords,
  namesOf,
  presenceInWords,
  setAside,
  type Bank,
  type BankFace,
  type BankPerson,
} from "../src/known";

const person = (change: Partial<BankPerson> = {}): BankPerson => ({
  id: 1,
  name: null,
  state: "here",
  since_seconds: 61,
  seen_seconds_ago: 0,
  exemplars: 3,
  ...change,
});
const unmatched = (name: string, exemplars = 2): BankPerson =>
  person({ id: 9, name, state: "unmatched", since_seconds: null, seen_seconds_ago: null, exemplars });
const face = (change: Partial<BankFace> = {}): BankFace => ({
  person: 1,
  verdict: "new",
  side: 60,
  exemplars: 0,
  reason: null,
  ...change,
});
const bank = (people: BankPerson[], faces: BankFace[]): Bank => ({ participant: "ann", exemplars: [], people, faces });

describe("people in words", () => {
  it("numbers those without a name", () => {
    const people = [person({ id: 4 }), unmatched("zoe"), person({ id: 12 })];
    expect([...namesOf(people).values()]).toEqual(["Person 1", "zoe", "Person 2"]);
  });
  it("tells who is here, since when, and who is away", () => {
    expect(presenceInWords(person())).toBe("here, known for 1 min");
    expect(presenceInWords(person({ state: "away", seen_seconds_ago: 12.4 }))).toBe("away for 12 s, known for 1 min");
    expect(presenceInWords(unmatched("zoe"))).toBe("not recognised here");
  });
  it("tells from how many exemplars, and which photos are set aside", () => {
    expect(exemplarsInWords(person({ exemplars: 1 }))).toBe("1 view");
    expect(exemplarsInWords(person({ exemplars: 0 }))).toBe("no views yet");
    expect(exemplarsInWords(unmatched("zoe"))).toBe("2 photos set aside: no face matches");
    expect(exemplarsInWords(unmatched("zoe", 0))).toBe("no photos are kept under this name");
  });
  it("tells what becomes of a face, and why it is not enhanced", () => {
    expect(fateInWords(face({ exemplars: 2 }))).toBe("Sharpened from 2 views");
    expect(fateInWords(face())).toBe("Sharpened without views");
    expect(fateInWords(face({ reason: "close" }))).toBe("Not sharpened: clear as it is");
    expect(fateInWords(face({ reason: "unrecognised" }))).toBe("Not sharpened: may be someone known, not yet certain who");
    expect(fateInWords(face({ reason: "of-tomorrow" }))).toBe("Not sharpened: of-tomorrow");
  });
});

describe("photos set aside", () => {
  it("are told only where a face is there that would match", () => {
    const people = [person(), unmatched("zoe")];
    expect(setAside(bank(people, [face()]))).toEqual(["zoe"]);
    expect(setAside(bank(people, [face({ side: 30 })]))).toBeNull();
    expect(setAside(bank(people, [face({ verdict: "unsure" }), face({ verdict: "covered" })]))).toBeNull();
    expect(setAside(bank(people, []))).toBeNull();
    expect(setAside(bank([person(), unmatched("zoe", 0)], [face()]))).toEqual([]);
    expect(setAside(bank([person({ name: "zoe" })], [face()]))).toEqual([]);
  });
});

describe("PhotosAside", () => {
  let answer: Bank | null;
  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("document", { hidden: false });
    vi.stubGlobal("fetch", async () => (answer ? Response.json(answer) : new Response("", { status: 404 })));
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("tells after two looks, and again when a face matches", async () => {
    const heard: string[][] = [];
    const aside = new PhotosAside("den", "ann", (names) => heard.push(names));
    const next = (): Promise<unknown> => vi.advanceTimersByTimeAsync(8000);
    answer = bank([unmatched("zoe")], [face()]);
    await next();
    expect(heard).toEqual([]);
    answer = bank([unmatched("zoe")], [face({ side: 20 })]); // too far to tell
    await next();
    expect(heard).toEqual([]);
    answer = bank([unmatched("zoe")], [face()]);
    await next();
    expect(heard).toEqual([["zoe"]]);
    answer = bank([unmatched("zoe")], []); // away for a moment
    await next();
    expect(heard).toEqual([["zoe"]]);
    answer = bank([person({ name: "zoe" })], [face({ verdict: "recognised" })]);
    await next();
    expect(heard).toEqual([["zoe"], []]);
    answer = null;
    await next();
    expect(heard.length).toBe(2);
    aside.close();
  });
});
