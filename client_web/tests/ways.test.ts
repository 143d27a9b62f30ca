import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { adviceOn, foundInWords } from "../src/advice";
import { tryWay, waysBy, type Found, type Kind, type Tried, type Way } from "../src/ways";
import { FakePeerConnection, OFFER, fakeFetch, problem, stubBrowser } from "./fakes";

const CHECK = "/api/rooms/den/check";
const STRAIGHT: Way = { kind: "udp", server: "" };
const TLS: Way = { kind: "turn-tls", server: "turn.test:443" };
const peer = (): FakePeerConnection => FakePeerConnection.made.at(-1)!;
const answered = (): Response => new Response("v=0 answer", { status: 201 });

beforeEach(() => {
  vi.useFakeTimers();
  stubBrowser();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("waysBy", () => {
  it("has the straight way, and one by each URL of a TURN server", () => {
    const turn = { urls: ["turn:[2001:db8::1]:3478", "turn:turn.test?transport=tcp"], username: "u", credential: "c" };
    const tls = { urls: "turns:turn.test:443?transport=tcp", username: "u", credential: "c" };
    const ways = waysBy([{ urls: "stun:stun.test" }, turn, tls]);
    expect(ways.map(({ way }) => way)).toEqual([
      STRAIGHT,
      { kind: "turn-udp", server: "[2001:db8::1]:3478" },
      { kind: "turn-tcp", server: "turn.test" },
      TLS,
    ]);
    expect(ways[0]!.servers).toEqual([{ urls: "stun:stun.test" }]);
    expect(ways[3]!.servers).toEqual([tls]);
  });

  it("takes no more of the relay's places than a few", () => {
    expect(waysBy(Array.from({ length: 9 }, (_, at) => ({ urls: `turn:t${at}.test` })))).toHaveLength(5);
  });
});

describe("tryWay", () => {
  it("connects, tells what was found, and leaves", async () => {
    const calls = fakeFetch(answered);
    const trying = tryWay(STRAIGHT, [{ urls: "stun:stun.test" }], CHECK);
    peer().iceGatheringState = "gathering";
    const host = { type: "host", protocol: "udp" } as const;
    peer().candidate({ ...host, candidate: "candidate:1", address: "a-b.local" });
    peer().candidate({ ...host, candidate: "candidate:2", protocol: "tcp", address: "10.0.0.2" });
    peer().candidate({ type: "srflx", protocol: "udp", candidate: "candidate:3", address: "203.0.113.7" });
    peer().candidate(null);
    await vi.advanceTimersByTimeAsync(10);
    peer().gatheringIs("complete");
    await vi.advanceTimersByTimeAsync(10);
    expect(calls).toMatchObject([{ url: CHECK, method: "POST", body: OFFER }]);
    peer().become("connected");
    expect(await trying).toEqual({ ...STRAIGHT, connected: true, roundTripMs: 23, found: ["hidden", "reflexive"], refused: false });
    expect(peer().connectionState).toBe("closed");
    expect(peer().getConfiguration()).toMatchObject({ iceTransportPolicy: "all" });
  });

  it("asks nothing of the relay where the TURN server gives no address", async () => {
    const calls = fakeFetch(answered);
    const trying = tryWay(TLS, [{ urls: "turns:turn.test:443" }], CHECK);
    peer().dispatchEvent(Object.assign(new Event("icecandidateerror"), { errorCode: 401 }));
    expect(await trying).toMatchObject({ connected: false, found: [], refused: true });
    expect(calls).toHaveLength(0);
    expect(peer().getConfiguration()).toMatchObject({ iceTransportPolicy: "relay" });
  });

  it.each(["fails", "stays silent"])("knows a way that %s", async (how) => {
    fakeFetch(answered);
    const trying = tryWay(STRAIGHT, [], CHECK);
    await vi.advanceTimersByTimeAsync(10);
    if (how === "fails") peer().become("failed");
    else await vi.advanceTimersByTimeAsync(10_000);
    expect(await trying).toMatchObject({ connected: false, roundTripMs: null });
    expect(peer().connectionState).toBe("closed");
  });

  it("passes the relay's refusal on, and closes", async () => {
    fakeFetch(() => problem(503, "The relay has no room for another connection test."));
    await expect(tryWay(STRAIGHT, [], CHECK)).rejects.toMatchObject({ status: 503 });
    expect(peer().connectionState).toBe("closed");
  });
});

const tried = (kind: Kind, connected: boolean, more: Partial<Tried> = {}): Tried => ({
  kind,
  server: kind === "udp" ? "" : "turn.test:3478",
  connected,
  roundTripMs: null,
  found: ["host"],
  refused: false,
  ...more,
});

describe("adviceOn", () => {
  it.each<[string, Tried[], string, RegExp, RegExp]>([
    ["all works", [tried("udp", true), tried("turn-tls", true)], "good", /straight/, /^$/],
    ["TURN's credentials are wrong", [tried("udp", true), tried("turn-udp", false, { refused: true })], "good", /straight/, /HIME_TURN_SECRET/],
    ["the relay's ports are closed", [tried("udp", false), tried("turn-udp", true)], "good", /TURN server by UDP/, /HIME_UDP_PORTS/],
    ["no UDP gets out", [tried("udp", false), tried("turn-udp", false), tried("turn-tls", true)], "fair", /no UDP/, /let UDP out/],
    ["nothing works", [tried("udp", false), tried("turn-tcp", false)], "bad", /No way/, /TCP to turn\.test:3478.*port 443/],
    ["even TLS does not work", [tried("udp", false), tried("turn-tls", false)], "bad", /No way/, /whether the TURN server runs/],
    ["there is no TURN server", [tried("udp", false)], "bad", /No way/, /set up TURN over TLS/],
    ["the browser has no address", [tried("udp", false, { found: [] })], "bad", /No way/, /VPN/],
  ])("where %s", (_, ways, verdict, words, hints) => {
    const advice = adviceOn(ways);
    expect(advice.verdict).toBe(verdict);
    expect(advice.words).toMatch(words);
    expect(advice.hints.join(" ")).toMatch(hints);
  });

  it("says what the browser offers", () => {
    const found = (...kinds: Found[]): string => foundInWords([tried("udp", false, { found: kinds })]);
    expect(found("reflexive", "hidden")).toBe("This browser offers an address behind a made-up name (mDNS) and a public address, by STUN.");
    expect(found()).toBe("This browser offers no address at all.");
  });
});
