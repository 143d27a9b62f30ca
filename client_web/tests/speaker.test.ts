import { describe, expect, it } from "vitest";
import { Loudest, Silence } from "../src/speaker";

const levels = (ann: number, ben: number): Map<string, number> =>
  new Map([
    ["ann", ann],
    ["ben", ben],
  ]);

describe("who speaks", () => {
  it("is nobody in silence, and then the first who is heard", () => {
    const loudest = new Loudest();
    expect(loudest.update(levels(0.001, 0))).toBeNull();
    expect(loudest.update(levels(0.001, 0.2))).toBe("ben");
  });
  it("stays in pauses, and through a short noise of another", () => {
    const loudest = new Loudest();
    loudest.update(levels(0.2, 0));
    for (const level of [0, 0, 0]) expect(loudest.update(levels(level, 0))).toBe("ann");
    loudest.update(levels(0.2, 0));
    loudest.update(levels(0.2, 0.5));
    expect(loudest.update(levels(0.2, 0))).toBe("ann");
  });
  it("changes once another is clearly louder for a while", () => {
    const loudest = new Loudest();
    loudest.update(levels(0.2, 0));
    const after = [1, 2, 3, 4].map(() => loudest.update(levels(0.01, 0.3)));
    expect(after[0]).toBe("ann");
    expect(after.at(-1)).toBe("ben");
  });
  it("is nobody who has left", () => {
    const loudest = new Loudest();
    loudest.update(levels(0.2, 0));
    expect(loudest.update(new Map([["ben", 0]]))).toBeNull();
  });
});

describe("a microphone that is off", () => {
  it("is told from a pause, which is shorter or not quite silent", () => {
    const silence = new Silence();
    expect(silence.update(0.1, 0)).toBe(false);
    expect(silence.update(0, 1000)).toBe(false);
    expect(silence.update(0.001, 2000)).toBe(false);
    expect(silence.update(0, 3000)).toBe(false);
    expect(silence.update(null, 5500)).toBe(true);
    expect(silence.update(0.1, 6000)).toBe(false);
  });
});
