import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { StreamsCard } from "../src/dashboard/streams";
import { fakeFetch } from "./fakes";

const shown = vi.hoisted(() => vi.fn());
vi.mock("../src/dashboard/charts", () => ({ TimeChart: class { show = shown; } }));

class FakeElement extends EventTarget {
  [key: string]: unknown;
  textContent = "";
  children: unknown[] = [];
  body: FakeElement | null = null;

  setAttribute(name: string, value: string): void {
    this[name] = value;
  }

  append(...children: unknown[]): void {
    this.children.push(...children);
  }

  replaceChildren(...children: unknown[]): void {
    this.children = children;
  }

  querySelector(): FakeElement {
    return (this.body ??= new FakeElement());
  }
}

const STREAM = { room: "team", state: "live", fps_in: 20, fps_out: 20, latency_ms: 30, outcomes: {}, exemplars: 3, watchers: [] };
const STREAMS = [{ ...STREAM, number: 1, name: "ann" }, { ...STREAM, number: 2, name: "ben" }];
const minute = (t: number, fps: number): object => ({ t, fps_in: fps, fps_out: fps, latency_ms: fps, kbps: 1 });
let elements: Map<string, FakeElement>;

beforeEach(() => {
  vi.useFakeTimers();
  shown.mockClear();
  elements = new Map();
  const byId = (id: string): FakeElement => elements.get(id) ?? elements.set(id, new FakeElement()).get(id)!;
  const createElement = (): FakeElement => new FakeElement();
  vi.stubGlobal("document", { getElementById: byId, createElement, createTextNode: String, hidden: false });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Presses the button of that stream. */
function choose(number: number): void {
  const within = (node: unknown): FakeElement[] =>
    node instanceof FakeElement ? [node, ...node.children.flatMap(within)] : [];
  const found = within(elements.get("streams")!.body).find((each) => each.id === `hour-${number}`);
  found!.dispatchEvent(new Event("click"));
}

it("shows the stream that was chosen last, whichever is answered first, and gaps where minutes are missing", async () => {
  fakeFetch(async ({ url }) => {
    if (url.endsWith("/streams")) return Response.json({ streams: STREAMS });
    const first = url.includes("/1?");
    await new Promise((resolve) => setTimeout(resolve, first ? 500 : 100));
    return Response.json({ points: first ? [minute(60, 1)] : [minute(60, 2), minute(240, 2)] });
  });
  new StreamsCard();
  await vi.advanceTimersByTimeAsync(0);
  choose(1);
  choose(2);
  await vi.advanceTimersByTimeAsync(1000);
  const [times, data] = shown.mock.lastCall!;
  expect(times).toEqual([60, 120, 240]);
  expect(data).toEqual([
    [2, null, 2],
    [2, null, 2],
    [2, null, 2],
  ]);
  expect(elements.get("stream-note")!.textContent).toContain("ben");
});
