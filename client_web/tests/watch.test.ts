import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Watch, type Wanted } from "../src/watch";
import { FakePeerConnection, created, fakeFetch, problem, stubBrowser, type Call } from "./fakes";

const FULL: Wanted = { view: "enhanced", layout: "upscale", width: 1280 };
let calls: Call[];
let watch: Watch;
let videos: EventTarget[];

beforeEach(() => {
  vi.useFakeTimers();
  stubBrowser();
  videos = [];
  vi.stubGlobal("document", {
    createElement: () => {
      videos.push(new EventTarget());
      return videos.at(-1);
    },
  });
  calls = fakeFetch(({ method }) => (method === "POST" ? created("/whep/den/ben/s1") : new Response(null)));
  watch = new Watch("den", "ben", false, { onVideo: () => undefined, onTrouble: () => undefined });
});
afterEach(() => {
  watch.stop();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const posts = (): string[] => calls.filter(({ method }) => method === "POST").map(({ url }) => url);

async function shows(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
  FakePeerConnection.made.at(-1)!.become("connected");
  videos.at(-1)!.dispatchEvent(new Event("loadeddata"));
}

describe("Watch", () => {
  it("does not ask for who is absent, and begins when they are back", async () => {
    watch.away = true;
    watch.show(FULL);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(posts()).toEqual([]);
    watch.away = false;
    await vi.advanceTimersByTimeAsync(0);
    expect(posts()).toHaveLength(1);
  });

  it("goes on by the same session where it was there before", async () => {
    watch.show(FULL);
    await shows();
    watch.away = true;
    await vi.advanceTimersByTimeAsync(5_000);
    watch.away = false;
    await vi.advanceTimersByTimeAsync(5_000);
    expect(posts()).toHaveLength(1);
  });

  it("asks for another view once who is absent is back", async () => {
    watch.show(FULL);
    await shows();
    watch.away = true;
    watch.show({ ...FULL, view: "original" });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(posts()).toHaveLength(1);
    watch.away = false;
    await vi.advanceTimersByTimeAsync(0);
    expect(posts().at(-1)).toContain("view=original");
    expect(posts()).toHaveLength(2);
  });

  it("asks for another view than the refused one once who is absent is back", async () => {
    calls = fakeFetch(() => problem(403, "Not this view."));
    watch.show(FULL);
    await vi.advanceTimersByTimeAsync(0);
    watch.away = true;
    watch.show({ ...FULL, view: "original" });
    watch.away = false;
    await vi.advanceTimersByTimeAsync(0);
    expect(posts().at(-1)).toContain("view=original");
  });

  it("makes no further try while they are absent", async () => {
    calls = fakeFetch(() => problem(404, "There is no such participant in the room."));
    watch.show(FULL);
    await vi.advanceTimersByTimeAsync(0);
    watch.away = true;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(calls).toHaveLength(1);
    watch.away = false;
    await vi.advanceTimersByTimeAsync(0);
    expect(calls).toHaveLength(2);
  });
});
