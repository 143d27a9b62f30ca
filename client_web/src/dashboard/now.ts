import { byId, el } from "../dom";
import { numeral, t } from "../strings";
import { BUDGET_MS } from "./panels";
import { STAGES, figure, inWords, mean, merge, total, type Point, type Quantiles } from "./stats";

/** The row of figures at the top. recent: the last seconds; points: all that the charts show. */
export function drawFigures(recent: readonly Point[], points: readonly Point[]): void {
  const words = t.dashboard.figures;
  const newest = recent.at(-1);
  const latency = merge(recent.map((point) => point.frame_latency));
  const recognitions = total(points.map((point) => point.recognition ?? {}));
  const recognised = ["recognised", "corrected", ...(recognitions.error ? ["error"] : [])]
    .map((outcome) => `${recognitions[outcome] ?? 0} ${inWords("recognition", outcome)}`)
    .join(", ");
  const tile = (label: string, value: string, unit = "", extra = "", wide = false): HTMLElement =>
    el("div", { class: wide ? "figure wide" : "figure" }, [
      el("span", { class: "label" }, [label]),
      el("strong", {}, [value, el("small", {}, [unit ? ` ${unit}` : ""])]),
      el("span", { class: "extra" }, [extra]),
    ]);
  const averaged = (read: (point: Point) => number | null): string => figure(mean(recent.map(read)));
  const share = mean(recent.map((point) => point.machine?.cpu_share ?? null));
  const busy = words.busy(share === null ? "–" : numeral(100 * share));
  byId("figures").replaceChildren(
    tile(words.latency, figure(latency?.p50), "ms", `p95 ${figure(latency?.p95)} · p99 ${figure(latency?.p99)}`, true),
    tile(
      words.in,
      averaged((point) => point.fps_in),
      "/s",
      `${words.streamsIn(newest?.streams.in ?? 0)} · ${words.step(averaged((point) => point.quantizer_step))}`,
    ),
    tile(words.out, averaged((point) => point.fps_out), "/s", words.streamsOut(newest?.streams.out ?? 0)),
    tile(words.enhanced, averaged((point) => point.outcomes.enhanced ?? 0), "/s", words.fresh),
    tile(words.bank, String(newest?.bank_exemplars ?? 0), "", `${words.exemplars} · ${recognised}`),
    tile(words.age, averaged((point) => point.reference_gap_s), "s", words.ageOf),
    tile(
      words.processor,
      averaged((point) => point.machine?.cpu_cores ?? null),
      t.dashboard.cores,
      `${busy} · ${words.batch(averaged((point) => point.batch_size))}`,
    ),
  );
}

/** The stages of the last seconds, each against its budget. */
export function drawStages(recent: readonly Point[]): void {
  const words = t.dashboard.stages;
  const rows: [string, Quantiles | null, number | undefined][] = [
    ...STAGES.map((each): [string, Quantiles | null, number | undefined] => [
      words.of[each],
      merge(recent.map((point) => point.stages[each])),
      BUDGET_MS[each],
    ]),
    [words.whole, merge(recent.map((point) => point.frame_latency)), BUDGET_MS.frame],
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
          el("td", over ? { class: "over", title: t.dashboard.overBudget } : {}, [figure(quantiles?.p95)]),
          el("td", {}, [figure(quantiles?.p99)]),
          el("td", {}, [budget === undefined ? "–" : String(budget)]),
        ]);
      }),
    );
}

/** Why the gate let faces pass, most often first. span: whose faces, in words. */
export function drawBypass(points: readonly Point[], span: string): void {
  const sums = total(points.map((point) => point.bypass));
  const rows = Object.entries(sums)
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a);
  const most = rows[0]?.[1] ?? 1;
  byId("bypass-note").textContent = rows.length > 0 ? span : t.dashboard.noneHere;
  byId("bypass").replaceChildren(
    ...rows.map(([reason, count]) => {
      const bar = el("div", { class: "bar" }, [el("span", { class: "core" })]);
      (bar.firstChild as HTMLElement).style.width = `${(100 * count) / most}%`;
      return el("li", {}, [el("span", {}, [inWords("bypass", reason)]), bar, el("span", { class: "count" }, [String(count)])]);
    }),
  );
}
