import "uplot/dist/uPlot.min.css";
import { takeInvitation } from "../access";
import { byId, el, segmented } from "../dom";
import { getJson, request } from "../http";
import { TimeChart } from "./charts";
import { drawBypass, drawFigures, drawStages } from "./now";
import { lines } from "./palette";
import { BUDGET_MS, panelOf, readersOf, type Reader } from "./panels";
import { StatsSource } from "./source";
import { STAGES, Series, columns, isIdle, usualLevel, type Point } from "./stats";
import { StreamsCard } from "./streams";
import { WorkersNote } from "./workers";

/** Seconds that the figures and the table look back. */
const RECENT = 10;
const STACKED = "all";
const MINUTE_MS = 60_000;
const SPANS = [
  { value: "60", text: "1 min" },
  { value: "600", text: "10 min" },
  { value: "3600", text: "Hour", hint: "Minute by minute, kept across restarts" },
  { value: "86400", text: "Day", hint: "Minute by minute, kept across restarts" },
] as const;

takeInvitation();
document.querySelector("main")!.hidden = false; // with all of it in its place
const series = new Series();
let span = 60;
/** Minutes of the last hour or day, where one of them is chosen. */
let earlier: Point[] = [];
let fetched = 0;
let stage: string = STACKED;
let stageChart: TimeChart | null = null;

const isKept = (): boolean => span > 600;
const interval = (): number => (isKept() ? 60 : 1);
const range = (): string => (span === 86400 ? "day" : span === 3600 ? "hour" : "minutes");

/** A chart for each card that names a panel, in the panel's own words. */
const charts = [...document.querySelectorAll<HTMLElement>("[data-panel] .chart")].map((host) => {
  const panel = panelOf(host.closest<HTMLElement>("[data-panel]")!.dataset.panel!);
  const readers = readersOf(panel, interval);
  const budget = panel.budget === undefined ? undefined : BUDGET_MS[panel.budget];
  const drawn = lines(panel.id, readers.map(({ label }) => label));
  if (budget !== undefined) {
    readers.push({ label: "budget", read: () => budget });
    drawn.push({ label: "budget of p95", colour: "#9ba7b4", dashed: true });
  }
  const unit = panel.unit === "s" ? " ms" : panel.id === "memory" ? " MiB" : "";
  return { chart: new TimeChart(host, drawn, panel.draw === "stack", unit), readers };
});

byId("window").append(
  segmented("Window", SPANS, "60", (value) => {
    span = Number(value);
    earlier = [];
    draw();
    if (isKept()) void fetchEarlier();
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
byId("csv").addEventListener("click", () => void saveTable());

function openStageChart(): void {
  stageChart?.destroy();
  const labels = stage === STACKED ? STAGES : ["p50", "p95", "p99"];
  stageChart = new TimeChart(byId("stage-chart"), lines(stage === STACKED ? "stages" : stage, labels), stage === STACKED, " ms");
}

function stageReaders(): Reader[] {
  if (stage === STACKED) return STAGES.map((label) => ({ label, read: (point) => point.stages[label]?.p50 ?? null }));
  return (["p50", "p95", "p99"] as const).map((label) => ({ label, read: (point) => point.stages[stage]?.[label] ?? null }));
}

function draw(): void {
  const points = isKept() ? earlier : series.last(span);
  const recent = series.last(RECENT);
  const now = series.points.at(-1)?.t ?? Date.now() / 1000;
  byId("empty").hidden = !isIdle(points);
  const show = (chart: TimeChart, readers: readonly Reader[]): void => {
    const [times, ...data] = columns(points, readers.map(({ read }) => read), interval());
    chart.show(times, data, now, span);
  };
  if (points.some((point) => (point.machine?.gpu_share ?? null) !== null)) byId("gpu-card").hidden = false;
  for (const { chart, readers } of charts) show(chart, readers);
  show(stageChart!, stageReaders());
  const level = usualLevel(recent);
  byId("demand-note").textContent = `Frames per second with a face to enhance${level ? `; of late mostly ${level}` : ""}`;
  drawFigures(recent, points);
  drawStages(recent);
  drawBypass(points, { 60: "minute", 600: "10 minutes", 3600: "hour" }[span] ?? "day");
}

async function fetchEarlier(): Promise<void> {
  const wanted = range();
  fetched = Date.now();
  try {
    const { points } = await getJson<{ points: Point[] }>(`/api/stats?range=${wanted}`);
    if (wanted !== range()) return;
    earlier = points;
    draw();
  } catch {
    fetched = 0; // asked again with the next second
  }
}

/** A link could not carry the invitation. */
async function saveTable(): Promise<void> {
  const response = await request(`/api/stats.csv?range=${range()}`);
  if (!response.ok) return;
  const url = URL.createObjectURL(await response.blob());
  el("a", { href: url, download: `hime-${range()}.csv` }).click();
  URL.revokeObjectURL(url);
}

const live = byId("live");
openStageChart();
draw();
new StreamsCard();
new WorkersNote();
new StatsSource({
  onPoints: (points) => {
    series.add(points);
    if (document.hidden) return;
    draw();
    if (isKept() && Date.now() - fetched > MINUTE_MS) void fetchEarlier();
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
