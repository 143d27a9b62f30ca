import { describe, expect, it } from "vitest";
import { Series, columns, figure, isIdle, mean, merge, stack, total, usualLevel, type Point, type Quantiles } from "../src/dashboard/stats";

const quantiles = (p50: number, count = 10): Quantiles => ({ p50, p95: p50 * 2, p99: p50 * 3, count });
const none: Quantiles = { p50: null, p95: null, p99: null, count: 0 };
const point = (t: number, change: Partial<Point> = {}): Point => ({
  t,
  stages: {},
  frame_latency: none,
  fps_in: 0,
  fps_out: 0,
  outcomes: { enhanced: 0, carried: 0, passed: 0, dropped: 0 },
  bypass: {},
  demand: {},
  recognition: {},
  batch_size: null,
  bank_exemplars: 0,
  reference_gap_s: null,
  quantizer_step: null,
  streams: { in: 0, out: 0 },
  ...change,
});

describe("Series", () => {
  it("keeps ten minutes, in order, each second once", () => {
    const series = new Series();
    series.add([point(2), point(1)]);
    series.add([point(2, { fps_in: 5 }), point(3)]);
    expect(series.points.map(({ t }) => t)).toEqual([1, 2, 3]);
    expect(series.points[1]!.fps_in).toBe(5);
    series.add([point(602)]);
    expect(series.points.map(({ t }) => t)).toEqual([3, 602]);
  });
  it("looks back from the newest point", () => {
    const series = new Series();
    series.add([1, 2, 3, 4].map((t) => point(t)));
    expect(series.last(2).map(({ t }) => t)).toEqual([3, 4]);
    expect(new Series().last(10)).toEqual([]);
  });
});

describe("aggregation", () => {
  it("weighs quantiles by samples and keeps the worst p99", () => {
    expect(merge([quantiles(10, 30), quantiles(20, 10), undefined, none])).toEqual({ p50: 12.5, p95: 25, p99: 60, count: 40 });
    expect(merge([undefined, none])).toBeNull();
  });
  it("sums counts per key", () => {
    expect(total([{ late: 1, error: 0 }, { late: 2, close: 4 }])).toEqual({ late: 3, error: 0, close: 4 });
  });
  it("tells the level that most frames were on", () => {
    const busy = [point(1, { demand: { references_3: 9, half_rate: 8 } }), point(2, { demand: { half_rate: 8, pass: 0 } })];
    expect(usualLevel(busy)).toBe("every 2nd frame");
    expect(usualLevel([point(1, { demand: { rung_of_tomorrow: 1 } })])).toBe("rung_of_tomorrow");
    expect(usualLevel([point(1, { demand: { references_3: 0 } })])).toBeNull();
  });
  it("averages what is known", () => {
    expect(mean([1, null, 3])).toBe(2);
    expect(mean([null])).toBeNull();
  });
  it("knows when nobody calls", () => {
    expect(isIdle([])).toBe(true);
    expect(isIdle([point(1), point(2)])).toBe(true);
    expect(isIdle([point(1), point(2, { fps_in: 20 })])).toBe(false);
  });
});

describe("chart data", () => {
  it("breaks the line where seconds are missing", () => {
    const [times, fps] = columns([point(1, { fps_in: 1 }), point(2, { fps_in: 2 }), point(9, { fps_in: 9 })], [(each) => each.fps_in]);
    expect(times).toEqual([1, 2, 3, 9]);
    expect(fps).toEqual([1, 2, null, 9]);
  });
  it("stacks, with gaps only where all is unknown", () => {
    expect(
      stack([
        [1, null, null],
        [2, 3, null],
      ]),
    ).toEqual([
      [1, 0, null],
      [3, 3, null],
    ]);
  });
  it("writes figures with the digits they deserve", () => {
    expect([null, 0, 1.234, 12.34, 123.4, 20].map(figure)).toEqual(["–", "0.0", "1.2", "12.3", "123", "20"]);
  });
});
