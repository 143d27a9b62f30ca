import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FakePeerConnection, created, fakeFetch, stubBrowser } from "./fakes";

const LINK = '<turn:turn.test>; rel="ice-server"; username="u"; credential="c"';
const TURN = { urls: "turn:turn.test", username: "u", credential: "c" };
const linked = (link: string): Response => new Response(null, { status: 204, headers: { Link: link } });
const servers = (at: number): RTCIceServer[] | undefined => FakePeerConnection.made.at(at)!.getConfiguration().iceServers;

let iceServersFor: (endpoint: string) => Promise<RTCIceServer[]>;
let iceServersOf: (header: string) => RTCIceServer[];
let watch: (participant: string) => Promise<void>;

beforeEach(async () => {
  vi.useFakeTimers();
  vi.resetModules(); // what is known of the servers belongs to the page
  stubBrowser();
  ({ iceServersFor, iceServersOf } = await import("../src/ice"));
  const { WhepClient } = await import("../src/whep");
  watch = (participant) => {
    const shown = { room: "den", participant, view: "enhanced", layout: "upscale", width: null, audio: true } as const;
    return new WhepClient({ ...shown, onHealth: () => undefined }).start();
  };
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("iceServersFor", () => {
  it("is asked before the first connection gathers, once for all that begin together", async () => {
    const asked: string[] = [];
    const told = ({ url }: { url: string }): Response => {
      asked.push(url);
      return linked(LINK);
    };
    fakeFetch(() => created("/whep/den/bob/s1", { Link: LINK }), told);
    await Promise.all([watch("bob"), watch("eve")]);
    expect(asked).toEqual(["/whep/den/bob?view=enhanced&layout=upscale"]);
    expect([servers(0), servers(1)]).toEqual([[TURN], [TURN]]);
  });

  it("learns from each answer, and asks again when its news are old", async () => {
    let asked = 0;
    const told = (): Response => linked((asked++, '<stun:old.test>; rel="ice-server"'));
    fakeFetch(() => created("/whep/den/bob/s1", { Link: LINK }), told);
    await watch("bob");
    expect(servers(0)).toEqual([{ urls: "stun:old.test" }]);
    await watch("bob");
    expect([servers(1), asked]).toEqual([[TURN], 1]);
    await vi.advanceTimersByTimeAsync(60_000);
    await watch("bob");
    expect([servers(2), asked]).toEqual([[{ urls: "stun:old.test" }], 2]);
  });

  it.each([
    ["an old relay", () => new Response(null, { status: 405 })],
    ["no relay", () => Promise.reject(new TypeError("fetch failed"))],
    ["a proxy's page", () => new Response("<html>", { status: 404 })],
  ])("does not keep anybody from joining: %s", async (_, told) => {
    const calls = fakeFetch(() => created("/whep/den/bob/s1"), told);
    await watch("bob");
    expect(calls.map(({ method }) => method)).toEqual(["POST"]);
    expect(servers(0) ?? []).toEqual([]);
  });

  it("keeps what it knows where the relay does not tell", async () => {
    let gone = false;
    fakeFetch(() => new Response(null), () => (gone ? new Response(null, { status: 503 }) : linked(LINK)));
    expect(await iceServersFor("/whep/den/bob")).toEqual([TURN]);
    await vi.advanceTimersByTimeAsync(60_000);
    gone = true;
    expect(await iceServersFor("/whep/den/bob")).toEqual([TURN]);
  });
});

describe("iceServersOf", () => {
  it("reads servers with and without credentials", () => {
    const header =
      '<stun:stun.test>; rel="ice-server", <https://x.test>; rel="help", ' +
      '<turn:turn.test?transport=udp>; rel="ice-server"; username="u,1"; credential="c;2"; credential-type="password"';
    expect(iceServersOf(header)).toEqual([
      { urls: "stun:stun.test" },
      { urls: "turn:turn.test?transport=udp", username: "u,1", credential: "c;2" },
    ]);
    expect(iceServersOf('<turn:turn.test>; rel="ice-server"')).toEqual([]); // a browser refuses it without credentials
    expect(iceServersOf("")).toEqual([]);
  });
});
