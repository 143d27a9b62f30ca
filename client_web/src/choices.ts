import type { View } from "./whep";

/** What can be chosen to see of somebody. Both pictures are one view of the relay's, shown in two ways. */
export const CHOICES = ["enhanced", "original", "compare", "sides"] as const;
export type Choice = (typeof CHOICES)[number];

/** The view that the relay is asked for. */
export function viewOf(choice: Choice): View {
  return choice === "sides" ? "compare" : choice;
}

/** Along the longer side of each picture in a stage that is `width` by `height`; two of them share it. */
export function shownLength(choice: Choice, width: number, height: number): number {
  if (choice !== "sides") return Math.max(width, height);
  return isStacked(width, height) ? width : width / 2;
}

/** Whether two pictures in a stage of that size stand above each other. */
export function isStacked(width: number, height: number): boolean {
  return width <= height;
}
