import { numeral, t } from "../strings";

/** What the server tells of one second; milliseconds. As in docs/architecture.md. */
export interface Quantiles {
  p50: number | null;
  p95: number | null;
  p99: number | null;
  count: number;
}
export interface Point {
  t: number;
  stages: Record<string, Quantiles>;
  frame_latency: Quantiles;
  fps_in: number;
  fps_out: number;
  outcomes: Record<string, number>;
  bypass: Record<string, number>;
  demand: Record<string, number>;
  recognition: Record<string, number>;
  /** Minutes of earlier versions lack it. */
  bank?: Record<string, number>;
  batch_size: number | null;
  bank_exemplars: number;
  reference_gap_s: number | null;
  /** Mean over received frames; grey levels. */
  quantizer_step: number | null;
  /** Null where it cannot be told. */
  machine?: Record<string, number | null>;
  streams: Record<string, number>;
  /** Minutes of earlier versions lack these two. Shares, 0 to 1. */
  short?: Record<string, number | null>;
  rungs?: Record<string, number>;
}

/** In the order in which a frame passes them. */
export const STAGES = [
  "receive",
  "decode",
  "convert",
  "detect",
  "track",
  "recognise",
  "select",
  "queue",
  "enhance",
  "composite",
  "encode",
] as const;
/** What is counted under each name, in the order in which it is drawn; the words are `t.dashboard.counted`. */
export const COUNTED = {
  outcomes: ["enhanced", "carried", "passed", "dropped"],
  /** The levels of demand on the network, from all that is wanted down to nothing. */
  demand: [
    "references_3",
    "references_2",
    "references_1",
    "half_rate",
    "smaller_1",
    "smaller_2",
    "smaller_3",
    "smaller_4",
    "pass",
  ],
  bypass: ["late", "overload", "no_exemplar", "unrecognised", "error", "too_large", "shed", "unwatched", "close", "no_face"],
  /** Streams by what they still get, as all step down where the machine is short. */
  rungs: ["whole", "references_1", "half_rate", "quarter_rate", "passed", "plain"],
  /** What came of telling whose face it is. */
  recognition: ["recognised", "corrected", "error"],
  /** What became of faces that were looked at for a bank. */
  bank: [
    "taken",
    "replaced",
    "another_person",
    "poorer",
    "blurred",
    "small",
    "moving",
    "turned",
    "cut_off",
    "uncertain",
    "implausible",
  ],
} as const;
export type Counts = keyof typeof COUNTED;
export const KEPT_SECONDS = 600;

/** The last ten minutes: history once, then a point each second; restarts of the server included. */
export class Series {
  private kept: Point[] = [];

  get points(): readonly Point[] {
    return this.kept;
  }

  /** Merges points by time: a reconnect repeats some, a restarted server knows none of the old ones. */
  add(points: readonly Point[]): void {
    const byTime = new Map(this.kept.map((point) => [point.t, point]));
    for (const point of points) byTime.set(point.t, point);
    const sorted = [...byTime.values()].sort((a, b) => a.t - b.t);
    const newest = sorted.at(-1)?.t ?? 0;
    this.kept = sorted.filter((point) => point.t > newest - KEPT_SECONDS);
  }

  last(seconds: number): Point[] {
    const newest = this.kept.at(-1)?.t ?? 0;
    return this.kept.filter((point) => point.t > newest - seconds);
  }
}

export function isIdle(points: readonly Point[]): boolean {
  return points.every((point) => point.fps_in === 0 && point.fps_out === 0 && (point.streams.in ?? 0) === 0);
}

/**
 * Quantiles of several seconds from those of each: p50 and p95 are means weighted by sample counts, p99 is the
 * worst second's. Exact merging would need the samples. Null without any.
 */
export function merge(quantiles: readonly (Quantiles | undefined)[]): Quantiles | null {
  let count = 0;
  let p50 = 0;
  let p95 = 0;
  let p99 = 0;
  for (const each of quantiles) {
    if (!each || each.count === 0 || each.p50 === null || each.p95 === null || each.p99 === null) continue;
    count += each.count;
    p50 += each.p50 * each.count;
    p95 += each.p95 * each.count;
    p99 = Math.max(p99, each.p99);
  }
  return count > 0 ? { p50: p50 / count, p95: p95 / count, p99, count } : null;
}

/** Sums per key. */
export function total(counts: readonly Record<string, number>[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const each of counts) for (const [key, value] of Object.entries(each)) sums[key] = (sums[key] ?? 0) + value;
  return sums;
}

/** What is counted under a name, in words; the name itself where this page does not know it. */
export function inWords(group: Counts, name: string): string {
  return (t.dashboard.counted[group] as Record<string, string>)[name] ?? name;
}

/** Of these points' frames, the level that most were on, in words; null where nothing could be asked for. */
export function usualLevel(points: readonly Point[]): string | null {
  const [most] = Object.entries(total(points.map((point) => point.demand)))
    .filter(([, frames]) => frames > 0)
    .sort(([, a], [, b]) => b - a);
  return most ? inWords("demand", most[0]) : null;
}

export function mean(values: readonly (number | null)[]): number | null {
  const known = values.filter((value): value is number => value !== null);
  return known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

export type Column = (number | null)[];

/**
 * Times and one column per reader; a missing stretch of time becomes a gap, not a straight line. interval: seconds from
 * one point to the next.
 */
export function columns<P extends { t: number }>(
  points: readonly P[],
  readers: readonly ((point: P) => number | null)[],
  interval = 1,
): [number[], ...Column[]] {
  const times: number[] = [];
  const out: Column[] = readers.map(() => []);
  let before: number | null = null;
  for (const point of points) {
    if (before !== null && point.t - before > 2.5 * interval) {
      times.push(before + interval);
      for (const column of out) column.push(null);
    }
    times.push(point.t);
    readers.forEach((read, index) => out[index]!.push(read(point)));
    before = point.t;
  }
  return [times, ...out];
}

/** Each column on top of those before it; unknown counts as nothing, unless all are unknown at that time. */
export function stack(data: readonly Column[]): Column[] {
  const length = data[0]?.length ?? 0;
  const sums: Column = new Array<number | null>(length).fill(0);
  return data.map((column) =>
    column.map((value, index) => {
      if (data.every((each) => each[index] === null)) return null;
      return (sums[index] = (sums[index] ?? 0) + (value ?? 0));
    }),
  );
}

/** A figure with as many digits as it deserves, as the user's language writes it. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  return numeral(value, value >= 100 || (value >= 10 && value % 1 === 0) ? 0 : 1);
}
