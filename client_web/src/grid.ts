const ASPECT = 16 / 9;

/**
 * Columns that make `count` tiles (a 16:9 picture over `bar` pixels of text and tools) as wide as they can be. Where they
 * would be narrower than `least`, as many columns as that leaves, and the rest is scrolled to; never wider than `width`.
 */
export function fitGrid(
  count: number,
  width: number,
  height: number,
  gap: number,
  bar: number,
  least = 0,
): { columns: number; tileWidth: number } {
  let best = { columns: 1, tileWidth: 0 };
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.ceil(Math.max(1, count) / columns);
    const wide = (width - gap * (columns - 1)) / columns;
    const high = ((height - gap * (rows - 1)) / rows - bar) * ASPECT;
    const tileWidth = Math.floor(Math.min(wide, high));
    if (tileWidth > best.tileWidth) best = { columns, tileWidth };
  }
  if (best.tileWidth >= Math.min(least, width)) return best;
  const columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
  return { columns, tileWidth: Math.floor((width - gap * (columns - 1)) / columns) };
}
