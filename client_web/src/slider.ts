/** The maths of the before/after slider. Positions are fractions of the picture's width, 0 at its left edge. */

export function clamp(value: number, low = 0, high = 1): number {
  return Math.min(high, Math.max(low, value));
}

/** Where a pointer stands over the picture. */
export function pointerPosition(clientX: number, left: number, width: number): number {
  return width > 0 ? clamp((clientX - left) / width) : 0.5;
}

/** The position after a key of the ARIA slider pattern; null for keys that mean nothing to a slider. */
export function keyPosition(position: number, key: string): number | null {
  switch (key) {
    case "ArrowLeft":
    case "ArrowDown":
      return clamp(position - 0.02);
    case "ArrowRight":
    case "ArrowUp":
      return clamp(position + 0.02);
    case "PageDown":
      return clamp(position - 0.1);
    case "PageUp":
      return clamp(position + 0.1);
    case "Home":
      return 0;
    case "End":
      return 1;
    default:
      return null;
  }
}

export interface Strip {
  /** x in the double-width frame, x on the canvas, width; all in pixels. */
  source: number;
  target: number;
  width: number;
}

/** Which strips of a frame `frameWidth` wide (original left, enhanced right) make up the picture. */
export function strips(frameWidth: number, position: number): { original: Strip; enhanced: Strip } {
  const half = Math.floor(frameWidth / 2);
  const split = Math.round(half * clamp(position));
  return {
    original: { source: 0, target: 0, width: split },
    enhanced: { source: half + split, target: split, width: half - split },
  };
}
