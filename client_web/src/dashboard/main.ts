import "uplot/dist/uPlot.min.css";
import { takeInvitation } from "../access";
import { byId, el, segmented } from "../dom";
import { TimeChart, type Line } from "./charts";
import { StatsSource } from "./source";
import {
  BYPASSES,
  OUTCOMES,
  RECOGNITIONS,
  LEVELS,
  STAGES,
  Series,
  columns,
  figure,
  isIdle,
  mean,
  merge,
  total,
  usualLevel,
  type Point,
  type Quantiles,
} from "./stats";

/** Seconds that the figures and the table look back. */
const RECENT = 10;
const STACKED = "all";

const QUANTILES: Line[] = [
  { label: "p50", colour: "#62d6b8" },
  { label: "p95", colour: "#f0c060" },
  { label: "p99", colour: "#ff7d73" },
];
const STAGE_COLOURS = ["#5b8def", "#62a8e5", "#57c1d9", "#4aa3a0", "#f0c060", "#d9a441", "#b58ae0", "#8f6fd0", "#62d6b8", "#3fae8f", "#e58ab0"];
// from green, where all is asked, over blue and yellow to red, where nothing is
const LEVEL_COLOURS = ["#62d6b8", "#57c1d9", "#5b8def", "#b58ae0", "#f0e0a0", "#f0c060", "#d9a441", "#c98032", "#ff7d73"];
const OUTCOME_COLOURS = ["#62d6b8", "#5b8def", "#6d7a88", "#ff7d73"];

const series = new Series();
let span = 60;
let stage: string = STACKED;
let stageChart: TimeChart | null = null;

const latencyChart = new TimeChart(byId("latency-chart"), QUANTILES, false, " ms");
const outcomeChart = new TimeChart(
  byId("outcome-chart"),
  OUTCOMES.map((outcome, index) => ({ label: outcome, colour: OUTCOME_COLOURS[index]! })),
  true,
  "",
);
const demandChart = new TimeChart(
  byId("demand-chart"),
  Object.values(LEVELS).map((label, index) => ({ label, colour: LEVEL_COLOURS[index]! })),
  true,
  "",
);

byId("window").append(
  segmented("Window", [{ value: "60", text: "1 min" }, { value: "300", text: "5 min" }, { value: "600", text: "10 min" }], "60", (value) => {
    span = Number(value);
    draw();
  }),
);
const chooser = byId<HTMLSelectElement>("stage");
chooser.append(
  el("option", { value: STACKED }, ["All, p50 stacked"]),
  ...STAGES.map((each) => el("option", { value: each }, [`${each}: p50, p95, p99`])),
);
chooser.addEventListener("change", () => {
  stage = chooser.value;
  openStageChart();
  draw();
});

function openStageChart(): void {
  stageChart?.destroy();
  const stacked = stage === STACKED;
  const lines = stacked ? STAGES.map((label, index) => ({ label, colour: STAGE_COLOURS[index]! })) : QUANTILES;
  stageChart = new TimeChart(byId("stage-chart"), lines, stacked, " ms");
}

const quantileReaders = (read: (point: Point) => Quantiles | undefined): ((point: Point) => number | null)[] => [
  (point) => read(point)?.p50 ?? null,
  (point) => read(point)?.p95 ?? null,
  (point) => read(point)?.p99 ?? null,
];

function draw(): void {
  const points = series.last(span);
  const now = points.at(-1)?.t ?? Date.now() / 1000;
  byId("empty").hidden = !isIdle(series.points);
  const show = (chart: TimeChart, readers: ((point: Point) => number | null)[]): void => {
    const [times, ...data] = columns(points, readers);
    chart.show(times, data, now, span);
  };
  show(latencyChart, quantileReaders((point) => point.frame_latency));
  show(outcomeChart, OUTCOMES.map((outcome) => (point: Point) => point.outcomes[outcome] ?? 0));
  show(demandChart, Object.keys(LEVELS).map((level) => (point: Point) => point.demand[level] ?? 0));
  const level = usualLevel(series.last(RECENT));
  byId("demand-note").textContent = `Frames per second with a face to enhance${level ? `; of late mostly ${level}` : ""}`;
  if (stage === STACKED) show(stageChart!, STAGES.map((each) => (point: Point) => point.stages[each]?.p50 ?? null));
  else show(stageChart!, quantileReaders((point) => point.stages[stage]));
  drawFigures(points);
  drawTable();
  drawBypass(points);
}

function drawFigures(points: readonly Point[]): void {
  const recent = series.last(RECENT);
  const newest = recent.at(-1);
  const latency = merge(recent.map((point) => point.frame_latency));
  const recognitions = total(points.map((point) => point.recognition ?? {}));
  const recognised = Object.entries(RECOGNITIONS)
    .filter(([outcome]) => outcome !== "error" || recognitions.error)
    .map(([outcome, words]) => `${recognitions[outcome] ?? 0} ${words}`)
    .join(", ");
  const tile = (label: string, value: string, unit = "", extra = "", wide = false): HTMLElement =>
    el("div", { class: wide ? "figure wide" : "figure" }, [
      el("span", { class: "label" }, [label]),
      el("strong", {}, [value, el("small", {}, [unit ? ` ${unit}` : ""])]),
      el("span", { class: "extra" }, [extra]),
    ]);
  byId("figures").replaceChildren(
    tile("Frame latency p50", figure(latency?.p50), "ms", `p95 ${figure(latency?.p95)} · p99 ${figure(latency?.p99)}`, true),
    tile(
      "Frames in",
      figure(mean(recent.map((point) => point.fps_in))),
      "/s",
      `${newest?.streams.in ?? 0} streams in · quantizer step ${figure(mean(recent.map((point) => point.quantizer_step)))}`,
    ),
    tile("Frames out", figure(mean(recent.map((point) => point.fps_out))), "/s", `${newest?.streams.out ?? 0} streams out`),
    tile("Enhanced", figure(mean(recent.map((point) => point.outcomes.enhanced ?? 0))), "/s", "every face fresh"),
    tile("Bank", String(newest?.bank_exemplars ?? 0), "", `exemplars · ${recognised}`),
    tile("Reference age", figure(mean(recent.map((point) => point.reference_gap_s))), "s", "of those used"),
    tile("Batch", figure(mean(recent.map((point) => point.batch_size))), "", "faces at once"),
  );
}

function drawTable(): void {
  const recent = series.last(RECENT);
  const rows: [string, Quantiles | null][] = [
    ...STAGES.map((each): [string, Quantiles | null] => [each, merge(recent.map((point) => point.stages[each]))]),
    ["whole frame", merge(recent.map((point) => point.frame_latency))],
  ];
  const longest = Math.max(1, ...rows.map(([, quantiles]) => quantiles?.p95 ?? 0));
  const percent = (value: number | null | undefined): string => `${(100 * (value ?? 0)) / longest}%`;
  byId("stages")
    .querySelector("tbody")!
    .replaceChildren(
      ...rows.map(([name, quantiles]) => {
        const bar = el("div", { class: "bar" }, [el("span", { class: "tail" }), el("span", { class: "core" })]);
        (bar.children[0] as HTMLElement).style.width = percent(quantiles?.p95);
        (bar.children[1] as HTMLElement).style.width = percent(quantiles?.p50);
        return el("tr", {}, [
          el("th", { scope: "row" }, [name]),
          el("td", { class: "bars" }, [bar]),
          ...[quantiles?.p50, quantiles?.p95, quantiles?.p99].map((value) => el("td", {}, [figure(value)])),
        ]);
      }),
    );
}

function drawBypass(points: readonly Point[]): void {
  const sums = total(points.map((point) => point.bypass));
  const rows = Object.entries(sums)
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a);
  const most = rows[0]?.[1] ?? 1;
  byId("bypass-note").textContent = rows.length > 0 ? `Faces in the last ${span / 60} min` : "None in this window";
  byId("bypass").replaceChildren(
    ...rows.map(([reason, count]) => {
      const bar = el("div", { class: "bar" }, [el("span", { class: "core" })]);
      (bar.firstChild as HTMLElement).style.width = `${(100 * count) / most}%`;
      return el("li", {}, [el("span", {}, [BYPASSES[reason] ?? reason]), bar, el("span", { class: "count" }, [String(count)])]);
    }),
  );
}

takeInvitation();
const live = byId("live");
openStageChart();
draw();
new StatsSource({
  onPoints: (points) => {
    series.add(points);
    if (!document.hidden) draw();
  },
  onOnline: (online) => {
    live.dataset.state = online ? "live" : "lost";
    live.textContent = online ? "Live" : "The server does not answer; trying again";
  },
  onRefused: (words) => {
    live.dataset.state = "lost";
    live.textContent = words;
  },
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) draw();
});
