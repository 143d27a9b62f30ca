import { expect, test } from "vitest";
import { faceAt } from "../src/show/face";

test("the loupe finds the face all through the video, and stays in the picture", () => {
  for (let seconds = 0; seconds <= 14; seconds += 0.25) {
    const { x, y, side } = faceAt(seconds);
    expect(x).toBeGreaterThan(0.4);
    expect(x).toBeLessThan(0.6);
    expect(y).toBeLessThan(9 / 16);
    expect(side).toBeGreaterThan(0.1);
  }
  expect(faceAt(0).side).toBeGreaterThan(3 * faceAt(7).side);
});

test("between two noted places it is on its way", () => {
  const [before, after] = [faceAt(2.2).side, faceAt(3.8).side];
  expect(faceAt(3).side).toBeLessThan(before);
  expect(faceAt(3).side).toBeGreaterThan(after);
});
