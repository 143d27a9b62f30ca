import { describe, expect, it } from "vitest";
import { actionOf } from "../src/shortcuts";

const press = (key: string, change: Partial<KeyboardEvent> = {}): Parameters<typeof actionOf>[0] => ({
  key,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  repeat: false,
  target: null,
  ...change,
});

describe("shortcuts", () => {
  it("are single keys, in either case", () => {
    expect(["m", "C", "v", "f", "s", "l", "?"].map((key) => actionOf(press(key)))).toEqual([
      "mic",
      "camera",
      "view",
      "full",
      "speaker",
      "leave",
      "help",
    ]);
    expect(actionOf(press("x"))).toBeNull();
  });
  it("leave the browser's own and held keys alone", () => {
    for (const change of [{ ctrlKey: true }, { metaKey: true }, { altKey: true }, { repeat: true }]) {
      expect(actionOf(press("l", change))).toBeNull();
    }
  });
  it("are no keys while somebody types", () => {
    const target = { closest: (selector: string) => (selector.includes("input") ? {} : null) } as unknown as EventTarget;
    expect(actionOf(press("m", { target }))).toBeNull();
  });
});
