import { describe, expect, it } from "vitest";
import { backoffMs } from "../src/backoff";
import { constraints, mediaProblem } from "../src/devices";
import { fitGrid } from "../src/grid";
import { HttpError, errorOf, inWords } from "../src/http";
import { loudness } from "../src/level";
import { isName, nameProblem } from "../src/names";
import { keyPosition, pointerPosition, strips } from "../src/slider";
import { problem } from "./fakes";

describe("names", () => {
  it.each(["a", "Room_1-b", "x".repeat(64)])("accepts %s", (name) => expect(nameProblem(name, "The room")).toBeNull());
  it.each(["", "a b", "a/b", "é", "x".repeat(65), "a\n"])("refuses %j", (name) => expect(isName(name)).toBe(false));
  it("says what is wrong", () => {
    expect(nameProblem("", "The room")).toBe("The room is empty.");
    expect(nameProblem("a b/c", "The room")).toMatch(/not a space, “\/”\.$/);
    expect(nameProblem("x".repeat(70), "Your name")).toMatch(/70 characters; 64/);
  });
});

describe("slider", () => {
  it("follows the pointer and stays inside", () => {
    expect(pointerPosition(150, 100, 200)).toBe(0.25);
    expect(pointerPosition(0, 100, 200)).toBe(0);
    expect(pointerPosition(999, 100, 200)).toBe(1);
    expect(pointerPosition(10, 0, 0)).toBe(0.5);
  });
  it("obeys the keys of an ARIA slider", () => {
    expect(keyPosition(0.5, "ArrowRight")).toBeCloseTo(0.52);
    expect(keyPosition(0.5, "ArrowDown")).toBeCloseTo(0.48);
    expect(keyPosition(0.95, "PageUp")).toBe(1);
    expect(keyPosition(0.5, "Home")).toBe(0);
    expect(keyPosition(0.5, "End")).toBe(1);
    expect(keyPosition(0.5, "Tab")).toBeNull();
  });
  it.each([0, 0.25, 0.5, 0.999, 1])("covers the picture without gap or overlap at %d", (position) => {
    const { original, enhanced } = strips(2560, position);
    expect(original.width + enhanced.width).toBe(1280);
    expect(enhanced.target).toBe(original.width);
    // both halves show the same column on both sides of the divider
    expect(enhanced.source - 1280).toBe(enhanced.target);
    expect(enhanced.source + enhanced.width).toBe(2560);
  });
});

describe("grid", () => {
  it("fills the stage", () => {
    expect(fitGrid(1, 1600, 900, 12, 84)).toEqual({ columns: 1, tileWidth: 1450 });
    expect(fitGrid(2, 1600, 600, 12, 84).columns).toBe(2);
    expect(fitGrid(4, 1600, 900, 12, 84).columns).toBe(2);
    expect(fitGrid(3, 360, 700, 12, 84).columns).toBe(1);
  });
  it("is never wider than the stage, and scrolls sooner than it makes tiles tiny", () => {
    expect(fitGrid(3, 370, 500, 12, 84, 280)).toEqual({ columns: 1, tileWidth: 370 });
    expect(fitGrid(9, 740, 500, 12, 84, 280)).toEqual({ columns: 2, tileWidth: 364 });
    expect(fitGrid(2, 270, 500, 12, 84, 280)).toEqual({ columns: 1, tileWidth: 270 });
  });
});

describe("words for errors", () => {
  it("takes the detail of a problem body", async () => {
    expect((await errorOf(problem(413, "The photo is larger than 15 MB."))).message).toBe("The photo is larger than 15 MB.");
  });
  it("falls back to the status line", async () => {
    const error = await errorOf(new Response("<html>", { status: 502, statusText: "Bad Gateway" }));
    expect(error.message).toBe("The server answered 502 Bad Gateway");
    const broken = new Response("{", { status: 500, headers: { "Content-Type": "application/json" } });
    expect((await errorOf(broken)).message).toBe("The server answered 500");
  });
  it("knows a missing server", () => {
    expect(inWords(new TypeError("Failed to fetch"))).toBe("The server cannot be reached.");
    expect(inWords(new HttpError(404, "Nobody."))).toBe("Nobody.");
  });
  it("explains refused devices", () => {
    expect(mediaProblem(new DOMException("", "NotAllowedError"))).toMatch(/Allow both/);
    expect(mediaProblem(new DOMException("", "NotFoundError"))).toMatch(/No camera or no microphone/);
    expect(mediaProblem(new Error("odd"))).toMatch(/: odd$/);
  });
});

describe("devices", () => {
  it("asks for the chosen size and devices", () => {
    const { video, audio } = constraints({ camera: "c1", microphone: "", quality: "low" });
    expect(video).toMatchObject({ width: { ideal: 320 }, height: { ideal: 180 }, deviceId: { exact: "c1" } });
    expect(audio).not.toHaveProperty("deviceId");
  });
  it("measures loudness in decibels", () => {
    expect(loudness(0)).toBe(0);
    expect(loudness(1)).toBeCloseTo(1);
    expect(loudness(0.001)).toBeCloseTo(0.5);
  });
});

describe("backoff", () => {
  it("grows and is bounded", () => {
    expect([0, 1, 2, 3].map(backoffMs)).toEqual([300, 600, 1200, 2400]);
    expect(backoffMs(1000)).toBe(5000);
  });
});
