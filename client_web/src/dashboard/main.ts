import "uplot/dist/uPlot.min.css";
import { takeInvitation } from "../access";
import { byId, el, segmented } from "../dom";
import { getJson, request } from "../http";
import { followLook, languageChoice, lookChoice } from "../looks";
import { fillIn, t } from "../strings";
import { TimeChart } from "./charts";
import { drawBypass, drawFigures, drawStages } from "./now";
import { lines, muted } from "./palette";
import { BUDGET_MS, panelOf, readersOf, type Reader } from "./panels";
import { StatsSource } from "./source";
import { KEPT_SECONDS, STAGES, Series, columns, isIdle, usualLevel, type Point } from "./stats";
import { StreamsCard } from "./streams";
import { WorkersNote } from "./workers";

/** Seconds that the figures and the table look back. */
const RECENT = 10;
const STACKED = "all";
const MINUTE_MS = 60_000;
type Span = keyof typeof t.dashboard.spans;
const SPANS: Record<Span, number> = { minute: 60, minutes: 600, hour: 3600, day: 86400 };

followLook();
fillIn(document, t.dashboard);
document.title = `${t.dashboard.title} · HIME Relay`;
byId("looks").append(el("div", {}, languageChoice("language")), el("div", {}, lookChoice("look")));
takeInvitation();
for (const part of document.querySelectorAll<HTMLElement>("header, main")) part.hidden = false; // with all of it in its place
const series = new Series();
let span: Span = "minute";
/** Minutes of the last hour or day, where one of them is chosen. */
let earlier: Point[] = [];
let fetched = 0;
let stage: (typeof STAGES)[number] | typeof STACKED = STACKED;
let stageChart: TimeChart | null = null;

const isKept = (): boolean => span === "hour" || span === "day";
const interval = (): number => (isKept() ? 60 : 1);
const range = (): string => (span === "minute" ? "minutes" : span);

/** A chart for each card that names a panel. */
const charts = [...document.querySelectorAll<HTMLElement>("[data-panel] .chart")].map((host) => {
  const panel = panelOf(host.closest<HTMLElement>("[data-panel]")!.dataset.panel!);
  const readers = readersOf(panel, interval);
  const budget = panel.budget === undefined ? undefined : BUDGET_MS[panel.budget];
  const drawn = lines(panel.id, readers.map(({ label }) => label));
  if (budget !== undefined) {
    readers.push({ label: t.dashboard.budget, read: () => budget });
    drawn.push({ label: t.dashboard.budget, colour: muted, dashed: true });
  }
  const unit = panel.unit === "s" ? " ms" : panel.id === "memory" ? " MiB" : "";
  return { chart: new TimeChart(host, drawn, panel.draw === "stack", unit), readers };
});

const options = (Object.keys(SPANS) as Span[]).map((value) => ({
  value,
  text: t.dashboard.spans[value],
  hint: SPANS[value] > KEPT_SECONDS ? t.dashboard.kept : "",
}));
byId("window").append(
  segmented(t.dashboard.window, options, span, (value) => {
    span = value;
    earlier = [];
    draw();
    if (isKept()) void fetchEarlier();
  }),
);
const chooser = byId<HTMLSelectElement>("stage");
chooser.append(
  el("option", { value: STACKED }, [t.dashboard.stages.all]),
  ...STAGES.map((each) => el("option", { value: each }, [`${t.dashboard.stages.of[each]}: p50, p95, p99`])),
);
chooser.addEventListener("change", () => {
  stage = chooser.value as typeof stage;
  openStageChart();
  draw();
});
byId("csv").addEventListener("click", () => void saveTable());

function stageReaders(): Reader[] {
  const chosen = stage;
  if (chosen === STACKED) {
    return STAGES.map((each) => ({ label: t.dashboard.stages.of[each], read: (point) => point.stages[each]?.p50 ?? null }));
  }
  return (["p50", "p95", "p99"] as const).map((label) => ({ label, read: (point) => point.stages[chosen]?.[label] ?? null }));
}

function openStageChart(): void {
  stageChart?.destroy();
  const stacked = stage === STACKED;
  const labels = stageReaders().map(({ label }) => label);
  stageChart = new TimeChart(byId("stage-chart"), lines(stacked ? "stages" : stage, labels), stacked, " ms");
}

function draw(): void {
  const points = isKept() ? earlier : series.last(SPANS[span]);
  const recent = series.last(RECENT);
  const now = series.points.at(-1)?.t ?? Date.now() / 1000;
  byId("empty").hidden = !isIdle([...series.points, ...points]);
  const show = (chart: TimeChart, readers: readonly Reader[]): void => {
    const [times, ...data] = columns(points, readers.map(({ read }) => read), interval());
    chart.show(times, data, now, SPANS[span]);
  };
  if (points.some((point) => (point.machine?.gpu_share ?? null) !== null)) byId("gpu-card").hidden = false;
  for (const { chart, readers } of charts) show(chart, readers);
  show(stageChart!, stageReaders());
  const level = usualLevel(recent);
  byId("demand-note").textContent = level ? t.dashboard.demandUsual(level) : t.dashboard.demandNote;
  drawFigures(recent, points);
  drawStages(recent);
  drawBypass(points, t.dashboard.facesIn[span]);
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
    live.textContent = online ? t.dashboard.live : t.dashboard.lost;
  },
  onRefused: (words) => {
    live.dataset.state = "lost";
    live.textContent = words;
  },
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) draw();
});
