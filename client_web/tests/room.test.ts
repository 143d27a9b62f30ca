import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RoomFeed, Roster, pictureState, type ParticipantStats, type RoomStats } from "../src/room";
import { FakeEventSource, fakeFetch, problem, stubBrowser } from "./fakes";

vi.mock("eventsource", async () => ({ EventSource: (await import("./fakes")).FakeEventSource }));

const stats = (...names: string[]): { participants: RoomStats } => ({
  participants: Object.fromEntries(
    names.map((name) => [name, { fps_in: 20, fps_out: 20, state: "live" as const, outcomes: {}, latency_ms: 40 }]),
  ),
});

describe("Roster", () => {
  it("tells each change once", () => {
    const changes: [string[], string[]][] = [];
    const roster = new Roster((joined, left) => changes.push([joined, left]));
    roster.join("ann");
    roster.join("ann");
    roster.leave("bob");
    roster.reconcile(["ann", "bob"]);
    roster.reconcile(["bob", "cem"]);
    roster.leave("bob");
    expect(changes).toEqual([
      [["ann"], []],
      [["bob"], []],
      [["cem"], ["ann"]],
      [[], ["bob"]],
    ]);
    expect(roster.list()).toEqual(["cem"]);
  });
});

describe("RoomFeed", () => {
  let feed: RoomFeed;
  const rosters: [string[], string[]][] = [];
  const online: boolean[] = [];
  const seen: RoomStats[] = [];
  const refusals: string[] = [];
  const draining: number[] = [];
  const joined: string[] = [];
  const away: string[][] = [];
  const ended: [string, string][] = [];

  beforeEach(() => {
    vi.useFakeTimers();
    stubBrowser();
    joined.length = away.length = rosters.length = online.length = seen.length = refusals.length = 0;
    feed = new RoomFeed("den", {
      onRoster: (joined, left) => rosters.push([joined, left]),
      onStats: (each) => seen.push(each),
      onJoined: (name) => joined.push(name),
      onReconnecting: (names) => away.push([...names]),
      onOnline: (each) => online.push(each),
      onRefused: (words) => refusals.push(words),
      onEnded: (participant, words) => ended.push([participant, words]),
      onDraining: (seconds) => draining.push(seconds),
    });
  });
  afterEach(() => {
    feed.close();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("tells whose stream was ended, and why", () => {
    FakeEventSource.last.open();
    FakeEventSource.last.send("refused", { participant: "ann", reason: "pixels", detail: "Too large." });
    expect(ended).toEqual([["ann", "Too large."]]);
  });

  it("follows joined and left", () => {
    expect(FakeEventSource.last.url).toBe("/api/rooms/den/events");
    FakeEventSource.last.open();
    FakeEventSource.last.send("joined", { participant: "ann" });
    FakeEventSource.last.send("joined", { participant: "bob" });
    FakeEventSource.last.send("left", { participant: "ann" });
    expect(feed.roster.list()).toEqual(["bob"]);
    expect(rosters).toEqual([
      [["ann"], []],
      [["bob"], []],
      [[], ["ann"]],
    ]);
  });

  it("is told that the server is about to end", () => {
    FakeEventSource.last.open();
    FakeEventSource.last.send("draining", { seconds: 29.5 });
    expect(draining).toEqual([29.5]);
    expect(online).toEqual([true]);
  });

  it("keeps who may come back, and tells when that is so", () => {
    FakeEventSource.last.open();
    FakeEventSource.last.send("joined", { participant: "ann" });
    FakeEventSource.last.send("reconnecting", { participant: "ann" });
    FakeEventSource.last.send("stats", { participants: {}, reconnecting: ["ann"] });
    expect(feed.roster.list()).toEqual(["ann"]);
    expect([...feed.reconnecting]).toEqual(["ann"]);
    FakeEventSource.last.send("joined", { participant: "ann" });
    FakeEventSource.last.send("stats", stats("ann"));
    expect(away).toEqual([["ann"], []]);
    expect(joined).toEqual(["ann", "ann"]);
    FakeEventSource.last.send("reconnecting", { participant: "ann" });
    FakeEventSource.last.send("left", { participant: "ann" });
    expect(away).toEqual([["ann"], [], ["ann"], []]);
    expect(rosters).toEqual([
      [["ann"], []],
      [[], ["ann"]],
    ]);
  });

  it("knows of who was lost before one began to listen, also from the statistics alone", () => {
    FakeEventSource.last.send("reconnecting", { participant: "ann" });
    FakeEventSource.last.send("stats", { participants: {}, reconnecting: ["bob"] });
    expect(feed.roster.list()).toEqual(["bob"]);
    expect(away).toEqual([["ann"], ["bob"]]);
  });

  it("notices by the statistics whom an event missed", () => {
    FakeEventSource.last.send("joined", { participant: "ghost" });
    FakeEventSource.last.send("stats", stats("bob"));
    expect(feed.roster.list()).toEqual(["bob"]);
    expect(seen.at(-1)?.bob?.fps_in).toBe(20);
  });

  it("connects again after an error, and keeps nobody who left meanwhile", async () => {
    FakeEventSource.last.open();
    FakeEventSource.last.send("stats", stats("ann", "bob"));
    const first = FakeEventSource.last;
    first.fail();
    expect(first.closed).toBe(true);
    expect(online).toEqual([true, false]);
    await vi.advanceTimersByTimeAsync(1000);
    expect(FakeEventSource.made).toHaveLength(2);
    FakeEventSource.last.open();
    FakeEventSource.last.send("joined", { participant: "ann" });
    FakeEventSource.last.send("stats", stats("ann"));
    expect(online).toEqual([true, false, true]);
    expect(feed.roster.list()).toEqual(["ann"]);
  });

  it("takes silence for a dead connection", async () => {
    FakeEventSource.last.open();
    await vi.advanceTimersByTimeAsync(5000);
    FakeEventSource.last.send("stats", stats("ann"));
    await vi.advanceTimersByTimeAsync(5000);
    expect(online).toEqual([true]);
    await vi.advanceTimersByTimeAsync(1500);
    expect(online).toEqual([true, false]);
  });

  it("does not ask again where it is not let in, and says why", async () => {
    fakeFetch(() => problem(401, "A token is needed."));
    await FakeEventSource.last.init.fetch(FakeEventSource.last.url, {});
    FakeEventSource.last.fail();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeEventSource.made).toHaveLength(1);
    expect(refusals).toEqual(["This relay lets in by invitation only. Open the link that you were sent."]);
    expect(online).toEqual([]);
  });

  it("waits as long as it is asked to", async () => {
    fakeFetch(() => new Response(null, { status: 429, headers: { "Retry-After": "7" } }));
    await FakeEventSource.last.init.fetch(FakeEventSource.last.url, {});
    FakeEventSource.last.fail();
    await vi.advanceTimersByTimeAsync(6900);
    expect(FakeEventSource.made).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(200);
    expect(FakeEventSource.made).toHaveLength(2);
  });

  it("stays closed once closed", async () => {
    feed.close();
    await vi.advanceTimersByTimeAsync(20000);
    expect(FakeEventSource.made).toHaveLength(1);
  });
});

describe("pictureState", () => {
  const at = (enhanced: number, carried: number, state: "live" | "stalled" = "live"): ParticipantStats => ({
    fps_in: 20,
    fps_out: 20,
    state,
    outcomes: { enhanced, carried, passed: 100, dropped: 0 },
    latency_ms: null,
  });
  it("tells of the last second, not of the whole call", () => {
    expect(pictureState(at(5, 5), at(9, 20))).toBe("enhanced");
    expect(pictureState(at(9, 20), at(9, 25))).toBe("carried");
    expect(pictureState(at(9, 25), at(9, 25))).toBe("passed");
    expect(pictureState(at(9, 25), at(12, 25, "stalled"))).toBe("waiting");
    expect(pictureState(undefined, undefined)).toBe("waiting");
  });
});
