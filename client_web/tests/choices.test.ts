import { expect, it } from "vitest";
import { CHOICES, isStacked, shownLength, viewOf } from "../src/choices";

it("asks the relay for both pictures once, however they are shown", () => {
  expect(CHOICES.map(viewOf)).toEqual(["enhanced", "original", "compare", "compare"]);
});

it("counts the pixels of one picture where two share the stage", () => {
  expect(shownLength("compare", 1280, 720)).toBe(1280);
  expect(shownLength("sides", 1280, 720)).toBe(640);
  expect(isStacked(360, 405)).toBe(true);
  expect(shownLength("sides", 360, 405)).toBe(360);
});
