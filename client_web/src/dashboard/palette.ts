import { isLight } from "../looks";
import type { Line } from "./charts";

/** Colours on the dark ground, and on the light one. */
type Pair = readonly [dark: string, light: string];

const MINT: Pair = ["#62d6b8", "#0f8468"];
const YELLOW: Pair = ["#f0c060", "#a87400"];
const RED: Pair = ["#ff7d73", "#c4362c"];
const BLUE: Pair = ["#5b8def", "#2f5fc4"];
const CYAN: Pair = ["#57c1d9", "#1b8a9e"];
const VIOLET: Pair = ["#b58ae0", "#8152b5"];
const OCHRE: Pair = ["#d9a441", "#8a5f12"];

const QUANTILES = [MINT, YELLOW, RED];
const STAGES: Pair[] = [
  BLUE,
  ["#62a8e5", "#2f7fb8"],
  CYAN,
  ["#4aa3a0", "#1f7a76"],
  YELLOW,
  OCHRE,
  VIOLET,
  ["#8f6fd0", "#63449f"],
  MINT,
  ["#3fae8f", "#0b6b52"],
  ["#e58ab0", "#b3507d"],
];
/** From green, where all is asked, over blue and yellow to red, where nothing is. */
const LEVELS: Pair[] = [MINT, CYAN, BLUE, VIOLET, ["#f0e0a0", "#b8a02a"], YELLOW, OCHRE, ["#c98032", "#8a4510"], RED];
const OUTCOMES: Pair[] = [MINT, BLUE, ["#6d7a88", "#7a8794"], RED];
const OF: Record<string, Pair[]> = { demand: LEVELS, rungs: LEVELS, outcomes: OUTCOMES, stages: STAGES, bypass: [...STAGES].reverse(), bank_decisions: STAGES };

const MUTED: Pair = ["#9ba7b4", "#4b5763"];
const GRID: Pair = ["#232b33", "#dde3e9"];

const shown = (pair: Pair): string => pair[isLight() ? 1 : 0];
/** Of axes and of lines that are none of the figures. */
export const muted = (): string => shown(MUTED);
export const grid = (): string => shown(GRID);

/** The lines of a panel, each with its colour. */
export function lines(panel: string, labels: readonly string[]): Line[] {
  const colours = OF[panel] ?? QUANTILES;
  return labels.map((label, index) => ({ label, colour: () => shown(colours[index % colours.length]!) }));
}
