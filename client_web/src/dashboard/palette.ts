import type { Line } from "./charts";

const QUANTILES = ["#62d6b8", "#f0c060", "#ff7d73"];
const STAGES = ["#5b8def", "#62a8e5", "#57c1d9", "#4aa3a0", "#f0c060", "#d9a441", "#b58ae0", "#8f6fd0", "#62d6b8", "#3fae8f", "#e58ab0"];
/** From green, where all is asked, over blue and yellow to red, where nothing is. */
const LEVELS = ["#62d6b8", "#57c1d9", "#5b8def", "#b58ae0", "#f0e0a0", "#f0c060", "#d9a441", "#c98032", "#ff7d73"];
const OUTCOMES = ["#62d6b8", "#5b8def", "#6d7a88", "#ff7d73"];
const OF: Record<string, string[]> = { demand: LEVELS, outcomes: OUTCOMES, stages: STAGES, bypass: [...STAGES].reverse() };

/** The lines of a panel, each with its colour. */
export function lines(panel: string, labels: readonly string[]): Line[] {
  const colours = OF[panel] ?? QUANTILES;
  return labels.map((label, index) => ({ label, colour: colours[index % colours.length]! }));
}
