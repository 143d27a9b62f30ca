import { byId, el } from "../dom";
import { BUDGET_MS } from "./panels";
import {
  BYPASSES,
  RECOGNITIONS,
  STAGES,
  figure,
  mean,
  merge,
  total,
  type Point,
  type Quantiles,
} from "./stats";

/** The row of figures at the top. recent: the last seconds; points: all that the charts show. */
export function drawFigures(recent: readonly Point[], points: readonly Point[]): void {
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
  const share = mean(recent.map((point) => point.machine?.cpu_share ?? null));
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
    tile(
      "Processor",
      figure(mean(recent.map((point) => point.machine?.cpu_cores ?? null))),
      "cores",
      `machine ${share === null ? "–" : Math.round(100 * share)} % busy · batch ${figure(mean(recent.map((point) => point.batch_size)))}`,
    ),
  );
}

/** The stages of the last seconds, each against its budget. */
export function drawStages(recent: readonly Point[]): void {
  const rows: [string, Quantiles | null, number | undefined][] = [
    ...STAGES.map((each): [string, Quantiles | null, number | undefined] => [
      each,
      merge(recent.map((point) => point.stages[each])),
      BUDGET_MS[each],
    ]),
    ["whole frame", merge(recent.map((point) => point.frame_latency)), BUDGET_MS.frame],
  ];
  const longest = Math.max(1, ...rows.map(([, quantiles]) => quantiles?.p95 ?? 0));
  const percent = (value: number | null | undefined): string => `${(100 * (value ?? 0)) / longest}%`;
  byId("stages")
    .querySelector("tbody")!
    .replaceChildren(
      ...rows.map(([name, quantiles, budget]) => {
        const bar = el("div", { class: "bar" }, [el("span", { class: "tail" }), el("span", { class: "core" })]);
        (bar.children[0] as HTMLElement).style.width = percent(quantiles?.p95);
        (bar.children[1] as HTMLElement).style.width = percent(quantiles?.p50);
        const over = budget !== undefined && (quantiles?.p95 ?? 0) > budget;
        return el("tr", {}, [
          el("th", { scope: "row" }, [name]),
          el("td", { class: "bars" }, [bar]),
          el("td", {}, [figure(quantiles?.p50)]),
          el("td", over ? { class: "over", title: "p95 is over the budget" } : {}, [figure(quantiles?.p95)]),
          el("td", {}, [figure(quantiles?.p99)]),
          el("td", {}, [budget === undefined ? "–" : String(budget)]),
        ]);
      }),
    );
}

/** Why the gate let faces pass, most often first. */
export function drawBypass(points: readonly Point[], words: string): void {
  const sums = total(points.map((point) => point.bypass));
  const rows = Object.entries(sums)
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a);
  const most = rows[0]?.[1] ?? 1;
  byId("bypass-note").textContent = rows.length > 0 ? `Faces in the last ${words}` : "None in this window";
  byId("bypass").replaceChildren(
    ...rows.map(([reason, count]) => {
      const bar = el("div", { class: "bar" }, [el("span", { class: "core" })]);
      (bar.firstChild as HTMLElement).style.width = `${(100 * count) / most}%`;
      return el("li", {}, [el("span", {}, [BYPASSES[reason] ?? reason]), bar, el("span", { class: "count" }, [String(count)])]);
    }),
  );
}
