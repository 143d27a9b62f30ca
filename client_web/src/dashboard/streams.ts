import { byId, el } from "../dom";
import { getJson } from "../http";
import { numeral, t } from "../strings";
import { TimeChart } from "./charts";
import { lines } from "./palette";
import { columns, figure } from "./stats";

interface Watcher {
  number: number;
  view: string;
  layout: string;
  kbps: number | null;
  path_kbps: number | null;
  loss: number | null;
  /** Whether it gets the smaller layer of its view. */
  reduced: boolean;
}
export interface Stream {
  number: number;
  room: string | null;
  name: string | null;
  state: string;
  fps_in: number;
  fps_out: number;
  latency_ms: number | null;
  outcomes: Record<string, number>;
  exemplars: number;
  watchers: Watcher[];
}
interface StreamPoint {
  t: number;
  fps_in: number;
  fps_out: number;
  latency_ms: number | null;
  kbps: number;
}

const POLL_MS = 2000;
const MINUTE = 60;
const HOUR = 3600;
const words = t.dashboard.streams;

/** By room, in the order of their first streams; those whose names are not told together, last. */
export function byRoom(streams: readonly Stream[]): [string, Stream[]][] {
  const rooms = new Map<string, Stream[]>();
  for (const stream of [...streams].sort((a, b) => Number(a.room === null) - Number(b.room === null))) {
    const room = stream.room === null ? words.hidden : words.room(stream.room);
    rooms.set(room, [...(rooms.get(room) ?? []), stream]);
  }
  return [...rooms];
}

export function nameOf(stream: Stream): string {
  return stream.name ?? words.numbered(stream.number);
}

/** What a watcher gets, in words. */
export function watcherInWords({ number, view, layout, kbps, path_kbps, loss, reduced }: Watcher): string {
  if (kbps === null) return `${number}: ${words.soundOnly}`;
  const picture = [words.views[view] ?? view, words.layouts[layout] ?? layout, ...(reduced ? [words.reduced] : [])].join(", ");
  const lost = words.lost(numeral(100 * (loss ?? 0), loss && loss < 0.1 ? 1 : 0));
  return `${number}: ${picture} · ${figure(kbps)} kbit/s, ${words.path(figure(path_kbps))} · ${lost}`;
}

/** The running streams and who watches them, and the last hour of the one that is chosen. */
export class StreamsCard {
  private readonly body = byId("streams").querySelector("tbody")!;
  private readonly chart = new TimeChart(byId("stream-chart"), lines("stream", [words.latency, words.framesIn, words.framesOut]), false, "");
  private chosen: Stream | null = null;
  private filled = 0;

  constructor() {
    this.chart.show([], [[], [], []], Date.now() / 1000, HOUR);
    const poll = (): void => {
      if (!document.hidden) void this.poll();
    };
    setInterval(poll, POLL_MS);
    poll();
  }

  private async poll(): Promise<void> {
    let streams: Stream[];
    try {
      ({ streams } = await getJson<{ streams: Stream[] }>("/api/stats/streams"));
    } catch {
      return; // the page's head tells that the relay does not answer
    }
    const focused = document.activeElement?.id;
    this.body.replaceChildren(...byRoom(streams).flatMap(([room, those]) => [roomRow(room, those), ...those.map((each) => this.row(each))]));
    if (focused?.startsWith("hour-")) document.getElementById(focused)?.focus();
    byId("streams-note").textContent = streams.length > 0 ? words.choose : words.nobody;
    if (this.chosen && Date.now() - this.filled > 30_000) void this.fill(this.chosen);
  }

  private row(stream: Stream): HTMLElement {
    const pressed = String(this.chosen?.number === stream.number);
    const choose = el("button", { type: "button", class: "link", id: `hour-${stream.number}`, "aria-pressed": pressed }, [nameOf(stream)]);
    choose.addEventListener("click", () => {
      this.chosen = stream;
      void this.fill(stream);
      void this.poll();
    });
    const cells = [figure(stream.fps_in), figure(stream.fps_out), figure(stream.latency_ms), String(stream.exemplars)];
    return el("tr", {}, [
      el("th", { scope: "row" }, [choose, stream.state === "stalled" ? ` ${words.still}` : ""]),
      ...cells.map((cell) => el("td", {}, [cell])),
      el("td", { class: "watchers" }, [el("ul", {}, stream.watchers.map((each) => el("li", {}, [watcherInWords(each)])))]),
    ]);
  }

  private async fill(stream: Stream): Promise<void> {
    this.filled = Date.now();
    try {
      const { points } = await getJson<{ points: StreamPoint[] }>(`/api/stats/streams/${stream.number}?range=hour`);
      if (stream !== this.chosen) return; // another one was, meanwhile
      const [times, ...data] = columns(points, [(each) => each.latency_ms, (each) => each.fps_in, (each) => each.fps_out], MINUTE);
      this.chart.show(times, data, Date.now() / 1000, HOUR);
      byId("stream-note").textContent =
        points.length > 0 ? words.minutes(nameOf(stream)) : words.young(nameOf(stream));
    } catch {
      if (stream === this.chosen) byId("stream-note").textContent = words.unread;
    }
  }
}

function roomRow(room: string, streams: readonly Stream[]): HTMLElement {
  const sum = (read: (stream: Stream) => number): string => figure(streams.reduce((all, each) => all + read(each), 0));
  const watchers = streams.reduce((all, each) => all + each.watchers.length, 0);
  const kbps = sum((each) => each.watchers.reduce((all, { kbps: one }) => all + (one ?? 0), 0));
  return el("tr", { class: "room" }, [
    el("th", { scope: "rowgroup" }, [room]),
    el("td", {}, [sum((each) => each.fps_in)]),
    el("td", {}, [sum((each) => each.fps_out)]),
    el("td", {}, [""]),
    el("td", {}, [String(streams.reduce((all, each) => all + each.exemplars, 0))]),
    el("td", { class: "watchers" }, [words.counted(watchers, kbps)]),
  ]);
}
