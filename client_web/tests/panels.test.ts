import { expect, test } from "vitest";
import { BUDGET_MS, panelOf, readersOf } from "../src/dashboard/panels";
import { STAGES, columns, type Point } from "../src/dashboard/stats";
import { byRoom, nameOf, watcherInWords, type Stream } from "../src/dashboard/streams";

const POINT = {
  t: 60,
  frame_latency: { p50: 40, p95: 70, p99: 90, count: 1200 },
  outcomes: { enhanced: 900, carried: 300 },
  machine: { cpu_cores: 1.5, gpu_share: null },
} as unknown as Point;

test("counts become rates, whatever time a point covers", () => {
  const read = (interval: number): Record<string, number | null> =>
    Object.fromEntries(readersOf(panelOf("outcomes"), () => interval).map(({ label, read }) => [label, read(POINT)]));
  expect(read(60)).toEqual({ enhanced: 15, carried: 5, passed: 0, dropped: 0 });
  expect(read(1).enhanced).toBe(900);
});

test("other figures are shown as they are, and unknown ones as gaps", () => {
  expect(readersOf(panelOf("latency"), () => 60).map(({ label, read }) => [label, read(POINT)])).toEqual([
    ["p50", 40],
    ["p95", 70],
    ["p99", 90],
  ]);
  expect(readersOf(panelOf("gpu"), () => 60)[0]!.read(POINT)).toBeNull();
  expect(readersOf(panelOf("memory"), () => 60)[0]!.read({ t: 1 } as Point)).toBeNull();
});

test("budgets are of stages, or of the whole frame", () => {
  for (const stage of Object.keys(BUDGET_MS)) expect([...STAGES, "frame"]).toContain(stage);
});

test("a minute that is missing is a gap", () => {
  const points = [0, 60, 240].map((t) => ({ ...POINT, t }));
  expect(columns(points, [() => 1], 60)).toEqual([[0, 60, 120, 240], [1, 1, null, 1]]);
});

const STREAM: Stream = {
  number: 7,
  room: "team",
  name: "ann",
  state: "live",
  fps_in: 20,
  fps_out: 20,
  latency_ms: 30,
  outcomes: {},
  exemplars: 3,
  watchers: [],
};

test("streams are told by room, and those without names by number, last", () => {
  const hidden = { ...STREAM, number: 3, room: null, name: null };
  const rooms = byRoom([hidden, STREAM, { ...STREAM, number: 8, name: "bob" }]);
  expect(rooms.map(([room, streams]) => [room, streams.map(nameOf)])).toEqual([
    ["Room team", ["ann", "bob"]],
    ["Rooms whose names you may not see", ["Stream 3"]],
  ]);
});

test("what a watcher gets is said in words", () => {
  const watcher = { number: 1, view: "enhanced", layout: "upscale", kbps: 812.4, path_kbps: 4000, loss: 0.004, reduced: false };
  expect(watcherInWords(watcher)).toBe("1: enhanced, upscale · 812 kbit/s, path 4000 · 0.4 % lost");
  expect(watcherInWords({ ...watcher, reduced: true })).toContain("upscale, reduced ·");
  expect(watcherInWords({ ...watcher, kbps: null })).toBe("1: sound only");
});
