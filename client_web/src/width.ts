import type { Layout, View } from "./whep";

/** Widths that the relay makes views for (hime_core/compositing/layout.py): the longer side of the picture, pixels. */
export const WIDTHS = [640, 960, 1280, 1600, 1920] as const;
export type Width = (typeof WIDTHS)[number];
/** The largest for each half of a compared picture. */
const MAX_COMPARED = 1280;

/** A tile counts as larger than its picture from here on; below, the browser's own enlarging shows no blur. */
const CLEARLY = 1.1;
/** A picture is made smaller only where that saves this many classes: a smaller one costs a connection, too. */
const CLASSES_SMALLER = 2;
/** How long a new size must last. */
export const SETTLED_MS = 2000;

/** The class for a picture that is shown `pixels` wide: the next one up, the largest for all beyond. */
export function widthClass(pixels: number): Width {
  return WIDTHS.find((width) => width >= pixels) ?? WIDTHS[WIDTHS.length - 1]!;
}

/** What is asked for where `width` is shown, so that nobody connects anew for the same picture; null: as it was sent. */
export function askedWidth(view: View, layout: Layout, width: Width): Width | null {
  if (layout === "native") return null;
  return view === "compare" && width > MAX_COMPARED ? MAX_COMPARED : width;
}

/** The class to go to from `current`; `current` itself where a change would not be worth a connection. */
export function nextWidth(current: Width, pixels: number): Width {
  const fitting = widthClass(pixels);
  if (pixels > CLEARLY * current) return fitting;
  return WIDTHS.indexOf(current) - WIDTHS.indexOf(fitting) >= CLASSES_SMALLER ? fitting : current;
}

/** The width that a tile asks for while its size changes: it follows with hysteresis, and once the size has settled. */
export class WidthFollower {
  private current: Width | null = null;
  private next: Width | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly onChange: (width: Width) => void) {}

  /** `pixels` of the screen along the tile's longer side. The first that are more than none are taken at once. */
  measured(pixels: number): void {
    if (pixels <= 0) return;
    if (this.current === null) return this.take(widthClass(pixels));
    const next = nextWidth(this.current, pixels);
    if (next === this.next) return;
    clearTimeout(this.timer);
    this.next = next;
    if (next !== this.current) this.timer = setTimeout(() => this.take(next), SETTLED_MS);
  }

  /** As measured, where a connection is made anyway: for another picture of another size. */
  again(pixels: number): void {
    clearTimeout(this.timer);
    if (pixels > 0) this.take(widthClass(pixels));
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  private take(width: Width): void {
    this.current = this.next = width;
    this.onChange(width);
  }
}
