import { describe, expect, it } from "vitest";
import { badgeOf, SteadyBadge } from "../src/badge";
import type { ParticipantStats } from "../src/room";

const stats = (face?: ParticipantStats["face"], change: Partial<ParticipantStats> = {}): ParticipantStats => ({
  fps_in: 20,
  fps_out: 20,
  state: "live",
  outcomes: {},
  latency_ms: null,
  ...(face ? { face } : {}),
  ...change,
});
const ann = { name: "ann", view: "enhanced", black: false } as const;
const myself = { ...ann, name: null };

describe("a badge", () => {
  it("tells from what a face is sharpened", () => {
    const three = stats({ exemplars: 3, reason: null });
    expect(badgeOf("enhanced", three, myself)).toEqual({ tone: "good", words: "Sharpened from 3 views of you" });
    expect(badgeOf("carried", three, ann).words).toBe("Sharpened from 3 views of ann");
    expect(badgeOf("enhanced", stats({ exemplars: 1, reason: null }), ann).words).toBe("Sharpened from 1 view of ann");
    expect(badgeOf("enhanced", stats({ exemplars: 0, reason: null }), ann).words).toBe("Sharpened");
    expect(badgeOf("passed", three, ann)).toEqual({ tone: "wait", words: "Too busy to sharpen" });
  });
  it("tells what would help", () => {
    const learning = stats({ exemplars: 0, reason: "no_exemplar" });
    expect(badgeOf("passed", learning, myself).words).toBe("Learning your face: come closer for a moment");
    expect(badgeOf("passed", learning, ann).words).toMatch(/^Learning this face/);
    expect(badgeOf("passed", stats({ exemplars: 0, reason: "unrecognised" }), ann).words).toMatch(/a look into the camera helps/);
  });
  it.each([
    ["close", "Clear as it is"],
    ["too_large", "Clear as it is"],
    ["overload", "Too busy to sharpen"],
    ["shed", "Too busy to sharpen"],
    ["unwatched", "Nobody watches the sharpened picture"],
    ["error", "Cannot sharpen now: the picture passes as it came"],
    ["of-tomorrow", "Cannot sharpen now: the picture passes as it came"],
  ])("knows %s", (reason, words) => {
    expect(badgeOf("passed", stats({ exemplars: 0, reason }), ann).words).toBe(words);
  });
  it("tells of the picture before the face", () => {
    const face = { exemplars: 3, reason: null };
    expect(badgeOf("waiting", stats(face), ann).words).toBe("No picture arrives");
    expect(badgeOf("passed", stats(undefined, { content: "screen" }), ann).words).toBe("A screen, passed on untouched");
    expect(badgeOf("passed", stats(), { ...ann, black: true }).words).toBe("The camera is off");
    expect(badgeOf("passed", stats(face), { ...ann, view: "original" }).words).toBe("The original, nothing sharpened");
    expect(badgeOf("passed", stats(), ann).words).toBe("No face to sharpen");
  });
  it("stays until another one has come twice", () => {
    const steady = new SteadyBadge();
    const told = (words: string): string => steady.update({ tone: "plain", words }).words;
    expect(["a", "b", "a", "b", "b", "a"].map(told)).toEqual(["a", "a", "a", "a", "b", "b"]);
  });
});
