import { byId } from "./dom";
import { fitGrid } from "./grid";
import { icon } from "./icons";
import { t } from "./strings";
import type { Tile } from "./tile";

const STORED = "hime.arrangement";
const GAP = 12;
/** Height of a tile's names and tools under its picture, as in call.css. */
const TILE_BAR = 92;
/** Below this tile width the stage scrolls instead of shrinking further. */
const MIN_TILE = 280;
/** Width of those who do not speak, and height of their names, as in call.css. */
const SMALL = 168;
const SMALL_BAR = 32;
/** Share of the stage's height that those may take before they are scrolled to. */
const SMALL_SHARE = 0.35;

/** Where the tiles stand: all alike, or one large over the others. */
export class Stage {
  readonly element = byId("tiles");
  private readonly button = byId<HTMLButtonElement>("arrangement");
  private readonly resize = new ResizeObserver(() => this.arrange());
  private tiles: readonly Tile[] = [];
  private speaker = localStorage.getItem(STORED) === "speaker";
  private pinned: string | null = null;
  private heard: string | null = null;

  constructor() {
    this.resize.observe(this.element);
    this.button.onclick = () => this.toggle();
    this.label();
  }

  close(): void {
    this.resize.disconnect();
  }

  show(tiles: readonly Tile[]): void {
    this.tiles = tiles;
    if (!tiles.some(({ name }) => name === this.pinned)) this.pin(null);
    this.arrange();
  }

  /** Everybody alike, or one large. */
  toggle(): void {
    this.speaker = !this.speaker;
    localStorage.setItem(STORED, this.speaker ? "speaker" : "grid");
    this.label();
    this.arrange();
  }

  /** Who speaks. */
  hear(name: string | null): void {
    if (name === this.heard) return;
    this.heard = name;
    this.arrange();
  }

  /** Keeps one large, or none. */
  pin(name: string | null): void {
    if (name === this.pinned) return;
    this.pinned = name;
    for (const tile of this.tiles) tile.pinned = tile.name === name;
    if (name !== null && !this.speaker) this.toggle();
    else this.arrange();
  }

  /** The one that is large, or the first. */
  get main(): Tile | undefined {
    const named = (name: string | null): Tile | undefined => this.tiles.find((tile) => tile.name === name);
    return named(this.pinned) ?? named(this.heard) ?? this.tiles[0];
  }

  private label(): void {
    const words = this.speaker ? t.call.grid : t.call.speaker;
    this.button.replaceChildren(icon(this.speaker ? "grid" : "speaker"));
    this.button.setAttribute("aria-label", words);
    this.button.title = words;
  }

  private arrange(): void {
    const { clientWidth, clientHeight, style } = this.element;
    const count = this.tiles.length;
    const large = this.speaker && count > 1 ? this.main : undefined;
    this.element.dataset.arrangement = large ? "speaker" : "grid";
    this.button.hidden = count < 2;
    for (const tile of this.tiles) {
      tile.element.classList.toggle("small", large !== undefined && tile !== large);
      tile.element.classList.toggle("large", tile === large);
    }
    if (!large) {
      const { columns, tileWidth } = fitGrid(count, clientWidth, clientHeight, GAP, TILE_BAR, MIN_TILE);
      style.setProperty("--columns", String(columns));
      return style.setProperty("--tile", `${tileWidth}px`);
    }
    const small = Math.min(SMALL, Math.floor((clientWidth - GAP) / 2));
    const rows = Math.ceil((count - 1) / Math.max(1, Math.floor((clientWidth + GAP) / (small + GAP))));
    const below = Math.min(GAP + rows * ((small * 9) / 16 + SMALL_BAR + GAP), SMALL_SHARE * clientHeight);
    style.setProperty("--tile", `${fitGrid(1, clientWidth, clientHeight - below, GAP, TILE_BAR, MIN_TILE).tileWidth}px`);
    style.setProperty("--small", `${small}px`);
  }
}

