import uPlot from "uplot";
import { onLook } from "../looks";
import { language, numeral, t } from "../strings";
import { grid, muted } from "./palette";
import { stack, type Column } from "./stats";

export interface Line {
  label: string;
  /** As the look of the page is at that time. */
  colour: () => string;
  dashed?: boolean;
}

const HEIGHT = 210;
const CLOCK: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };

/** A live chart over time: separate lines, or areas stacked on one another. */
export class TimeChart {
  private plot: uPlot;
  private raw: Column[] = [];
  private shown: Parameters<TimeChart["show"]> | null = null;
  private readonly abort = new AbortController();

  constructor(
    private readonly host: HTMLElement,
    private readonly lines: readonly Line[],
    private readonly stacked: boolean,
    private readonly unit: string,
  ) {
    this.plot = this.made();
    this.resize.observe(host);
    onLook(() => this.renew(), this.abort.signal);
  }

  private readonly resize = new ResizeObserver(() => this.plot.setSize(this.size()));

  /** times: Unix seconds; one column per line; the axis spans the `seconds` before `now`. */
  show(times: number[], data: Column[], now: number, seconds: number): void {
    this.shown = [times, data, now, seconds];
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
    this.abort.abort();
    this.resize.disconnect();
    this.plot.destroy();
  }

  /** Draws it in the colours of the look that there is now, which the legend takes over only when it is made. */
  private renew(): void {
    this.plot.destroy();
    this.plot = this.made();
    if (this.shown) this.show(...this.shown);
  }

  private made(): uPlot {
    const { lines, stacked } = this;
    const axis = { stroke: muted(), grid: { stroke: grid(), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return new uPlot(
      {
        ...this.size(),
        padding: [12, 28, 0, 0],
        cursor: { drag: { x: false, y: false }, points: { size: 6 } },
        legend: { live: true },
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(1, (high ?? 1) * 1.08)] } },
        axes: [
          { ...axis, space: 70, values: [
            [60, "{HH}:{mm}", null, null, null, null, null, null, 1],
            [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
          ] },
          { ...axis, size: 46, values: (_plot, ticks) => ticks.map((tick) => tick.toLocaleString(language, { useGrouping: false })) },
        ],
        series: [
          { label: t.dashboard.time, value: (_plot, at: number | null | undefined) => (at === null || at === undefined ? "–" : new Date(at * 1000).toLocaleTimeString(language, CLOCK)) },
          ...lines.map(({ label, colour, dashed }, index) => ({
            label,
            stroke: colour(),
            width: stacked || dashed ? 1 : 1.8,
            dash: dashed ? [6, 4] : undefined,
            fill: stacked ? `${colour()}b0` : undefined,
            points: { show: false },
            value: (_plot: uPlot, _shown: number | null, _series: number, at: number | null): string => {
              const value = at === null ? null : this.raw[index]?.[at];
              return value === null || value === undefined ? "–" : `${numeral(value, 1)}${this.unit}`;
            },
          })),
        ],
        // the lower area is painted last, over the upper one's foot
        bands: stacked ? lines.slice(1).map((_, index) => ({ series: [index + 2, index + 1] as [number, number] })) : [],
      },
      [[], ...lines.map(() => [])] as uPlot.AlignedData,
      this.host,
    );
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(200, this.host.clientWidth), height: HEIGHT };
  }
}
