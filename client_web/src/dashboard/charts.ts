import uPlot from "uplot";
import { stack, type Column } from "./stats";

export interface Line {
  label: string;
  colour: string;
  dashed?: boolean;
}

const MUTED = "#9ba7b4";
const GRID = "#232b33";

/** A live chart over time: separate lines, or areas stacked on one another. */
export class TimeChart {
  private readonly plot: uPlot;
  private raw: Column[] = [];

  constructor(
    private readonly host: HTMLElement,
    lines: readonly Line[],
    private readonly stacked: boolean,
    unit: string,
  ) {
    const axis = { stroke: MUTED, grid: { stroke: GRID, width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    this.plot = new uPlot(
      {
        ...this.size(),
        padding: [12, 6, 0, 0],
        cursor: { drag: { x: false, y: false }, points: { size: 6 } },
        legend: { live: true },
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(1, (high ?? 1) * 1.08)] } },
        axes: [
          { ...axis, space: 70, values: [
            [60, "{HH}:{mm}", null, null, null, null, null, null, 1],
            [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
          ] },
          { ...axis, size: 46, values: (_plot, ticks) => ticks.map((tick) => `${tick}`) },
        ],
        series: [
          { label: "Time", value: (_plot, t: number | null | undefined) => (t === null || t === undefined ? "–" : new Date(t * 1000).toLocaleTimeString()) },
          ...lines.map(({ label, colour, dashed }, index) => ({
            label,
            stroke: colour,
            width: stacked || dashed ? 1 : 1.8,
            dash: dashed ? [6, 4] : undefined,
            fill: stacked ? `${colour}b0` : undefined,
            points: { show: false },
            value: (_plot: uPlot, _shown: number | null, _series: number, at: number | null): string => {
              const value = at === null ? null : this.raw[index]?.[at];
              return value === null || value === undefined ? "–" : `${value.toFixed(1)}${unit}`;
            },
          })),
        ],
        // the lower area is painted last, over the upper one's foot
        bands: stacked ? lines.slice(1).map((_, index) => ({ series: [index + 2, index + 1] as [number, number] })) : [],
      },
      [[], ...lines.map(() => [])] as uPlot.AlignedData,
      host,
    );
    this.resize.observe(host);
  }

  private readonly resize = new ResizeObserver(() => this.plot.setSize(this.size()));

  /** times: Unix seconds; one column per line; the axis spans the `seconds` before `now`. */
  show(times: number[], data: Column[], now: number, seconds: number): void {
    this.raw = data;
    this.plot.batch(() => {
      this.plot.setData([times, ...(this.stacked ? stack(data) : data)] as uPlot.AlignedData, false);
      this.plot.setScale("x", { min: now - seconds, max: now });
    });
    // without a pointer over the chart the legend tells the newest values
    const { left } = this.plot.cursor;
    if (left === undefined || left < 0) this.plot.setLegend({ idx: times.length - 1 });
  }

  destroy(): void {
    this.resize.disconnect();
    this.plot.destroy();
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(200, this.host.clientWidth), height: 210 };
  }
}
