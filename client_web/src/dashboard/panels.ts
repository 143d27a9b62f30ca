import { t } from "../strings";
import definitions from "./panels.json";
import { COUNTED, inWords, type Counts, type Point } from "./stats";

/** One panel of this page and of Grafana's dashboard, which docker/grafana/dashboard.py makes of the same file. */
export interface Panel {
  id: string;
  title: string;
  draw: string;
  unit: string;
  /** Whose budget is drawn as a line. */
  budget?: string;
  series: { label: string; figures?: string }[];
}

export interface Reader {
  label: string;
  read: (point: Point) => number | null;
}

export const BUDGET_MS: Readonly<Record<string, number>> = definitions.budget_ms;
const PANELS = definitions.panels as Panel[];

export function panelOf(id: string): Panel {
  const found = PANELS.find((panel) => panel.id === id);
  if (!found) throw new Error(`There is no panel ${id}.`);
  return found;
}

/** What a panel's lines show of a point that covers `interval` seconds: counts become rates, but for what there is of now. */
export function readersOf(panel: Panel, interval: () => number): Reader[] {
  return panel.series.flatMap(({ label, figures }): Reader[] => {
    if (figures === undefined) return [];
    const [group, name] = figures.split(".") as [keyof Point, string];
    const of = (point: Point): Record<string, number | null> => (point[group] ?? {}) as unknown as Record<string, number | null>;
    if (name !== "*") return [{ label: t.dashboard.lines[label] ?? label, read: (point) => of(point)[name] ?? null }];
    const counts = group as Counts;
    return COUNTED[counts].map((key) => ({ label: inWords(counts, key), read: (point) => (of(point)[key] ?? 0) / (counts === "rungs" ? 1 : interval()) }));
  });
}
