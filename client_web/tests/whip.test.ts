import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { sdpFragment, type Health } from "../src/session";
import { WhipClient } from "../src/whip";
import { FakeMediaStream, FakePeerConnection, OFFER, created, fakeFetch, problem, stubBrowser } from "./fakes";

const ANSWER = [
  "v=0",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111",
  "a=candidate:1 1 udp 1 10.0.0.1 1 typ host",
  "a=end-of-candidates",
  "a=ice-ufrag:old",
  "a=ice-pwd:oldsecretoldsecretoldse",
  "a=setup:active",
].join("\r\n");
const tracks = (): MediaStream => new FakeMediaStream([{ kind: "audio" }, { kind: "video" }]) as unknown as MediaStream;
const client = (persons: string[] = [], onHealth: (health: Health) => void = () => undefined): WhipClient =>
  new WhipClient(tracks(), { room: "den", name: "ann", persons, onHealth });
const peer = (): FakePeerConnection => FakePeerConnection.made.at(-1)!;

beforeEach(stubBrowser);
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("WhipClient", () => {
  it("posts the offer and takes the answer", async () => {
    const calls = fakeFetch(() => created("/whip/den/ann/s1"));
    await client().start();
    expect(calls).toHaveLength(1);
    expect(calls[0]).toMatchObject({ url: "/whip/den/ann", method: "POST", body: OFFER });
    expect(calls[0]!.headers["Content-Type"]).toBe("application/sdp");
    expect(peer().remoteDescription).toEqual({ type: "answer", sdp: "v=0 answer" });
  });

  it("sends one audio and one video, VP8 first", () => {
    client();
    expect(peer().transceivers.map(({ kind, init }) => [kind, init.direction])).toEqual([
      ["audio", "sendonly"],
      ["video", "sendonly"],
    ]);
    expect(peer().transceivers[1]!.preferences.map((codec) => codec.mimeType)).toEqual([
      "video/VP8",
      "video/H264",
      "video/rtx",
      "video/VP9",
    ]);
  });

  it("names the persons whose photos apply", async () => {
    const calls = fakeFetch(() => created("/whip/den/ann/s1"));
    await client(["ann-1", "zoe"]).start();
    expect(calls[0]!.url).toBe("/whip/den/ann?person=ann-1&person=zoe");
  });

  it("tells the relay that its picture is of a screen", async () => {
    const calls = fakeFetch(() => created("/whip/den/ann/s1"));
    await new WhipClient(tracks(), { room: "den", name: "ann", content: "screen", onHealth: () => undefined }).start();
    await new WhipClient(tracks(), { room: "den", name: "ann", content: "camera", onHealth: () => undefined }).start();
    expect(calls.map(({ url }) => url)).toEqual(["/whip/den/ann?content=screen", "/whip/den/ann"]);
  });

  it("deletes its session once, by keepalive when the page goes", async () => {
    const calls = fakeFetch(({ method }) => (method === "POST" ? created("/whip/den/ann/s1") : new Response(null)));
    const whip = client();
    await whip.start();
    await whip.close(true);
    await whip.close();
    const deletes = calls.filter(({ method }) => method === "DELETE");
    expect(deletes).toHaveLength(1);
    expect(deletes[0]).toMatchObject({ url: "http://relay.test/whip/den/ann/s1", keepalive: true });
    expect(peer().connectionState).toBe("closed");
  });

  // RFC 9725, section 4.5; the browser itself POSTs the offer again, as tests/browser/test_redirect.py shows
  it("finds its session relative to where a redirect has led", async () => {
    const redirected = created("session/s1", { ETag: '"e1"' });
    Object.defineProperty(redirected, "url", { value: "http://relay.test/nodes/2/whip/den/ann" });
    const calls = fakeFetch(({ method }) => (method === "POST" ? redirected : new Response(null)));
    const whip = client();
    await whip.start();
    await whip.close();
    expect(calls[1]).toMatchObject({ url: "http://relay.test/nodes/2/whip/den/session/s1", method: "DELETE" });
  });

  it("deletes a session that is answered only after the call was left", async () => {
    let answer: (response: Response) => void = () => undefined;
    const calls = fakeFetch(({ method }) =>
      method === "POST" ? new Promise<Response>((resolve) => (answer = resolve)) : new Response(null),
    );
    const whip = client();
    const started = whip.start();
    await vi.waitFor(() => expect(calls).toHaveLength(1));
    await whip.close();
    answer(created("/whip/den/ann/s1"));
    await started;
    expect(calls.map(({ method }) => method)).toEqual(["POST", "DELETE"]);
    expect(peer().remoteDescription).toBeNull();
  });

  it("ends the session before it closes the connection", async () => {
    let state = "";
    fakeFetch((call) => {
      if (call.method === "DELETE") state = peer().connectionState;
      return call.method === "POST" ? created("/whip/den/ann/s1") : new Response();
    });
    const whip = client();
    await whip.start();
    await whip.close();
    expect(state).toBe("new");
    expect(peer().connectionState).toBe("closed");
  });

  it("asks nothing of a server that has ended the session", async () => {
    const calls = fakeFetch(() => created("/whip/den/ann/s1"));
    const whip = client();
    await whip.start();
    peer().transceivers[0]!.receiver.transport.state = "closed";
    await whip.close();
    expect(calls.map(({ method }) => method)).toEqual(["POST"]);
    expect(peer().connectionState).toBe("closed");
  });

  it("reports the problem's detail and closes", async () => {
    fakeFetch(() => problem(400, "The room may hold letters only."));
    await expect(client().start()).rejects.toMatchObject({ status: 400, message: "The room may hold letters only." });
    expect(peer().connectionState).toBe("closed");
  });

  it("refuses an answer without Location", async () => {
    fakeFetch(() => new Response("v=0", { status: 201 }));
    await expect(client().start()).rejects.toThrow(/no session/);
  });

  it("waits for gathering, but not for ever, and trickles what comes later", async () => {
    vi.useFakeTimers();
    const calls = fakeFetch(({ method }) =>
      method === "POST" ? created("/whip/den/ann/s1", { ETag: '"e1"' }) : new Response(null, { status: 204 }),
    );
    const whip = client();
    peer().iceGatheringState = "gathering";
    const started = whip.start();
    await vi.advanceTimersByTimeAsync(900);
    expect(calls).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(200);
    await started;
    expect(calls).toHaveLength(1);
    peer().candidate({ candidate: "candidate:1 1 udp 1 10.0.0.2 5000 typ host", sdpMid: "1", sdpMLineIndex: 1 });
    await vi.advanceTimersByTimeAsync(0);
    expect(calls[1]).toMatchObject({ url: "http://relay.test/whip/den/ann/s1", method: "PATCH" });
    expect(calls[1]!.headers).toEqual({ "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": '"e1"' });
    expect(calls[1]!.body).toContain("a=candidate:1 1 udp");
  });

  it("stops trickling when the server cannot", async () => {
    vi.useFakeTimers();
    const calls = fakeFetch(({ method }) =>
      method === "POST" ? created("/whip/den/ann/s1", { ETag: '"e1"' }) : new Response(null, { status: 405 }),
    );
    const whip = client();
    peer().iceGatheringState = "gathering";
    const started = whip.start();
    await vi.advanceTimersByTimeAsync(1000);
    await started;
    for (const port of [5000, 5001]) {
      peer().candidate({ candidate: `candidate:1 1 udp 1 10.0.0.2 ${port} typ host`, sdpMid: "0", sdpMLineIndex: 0 });
      await vi.advanceTimersByTimeAsync(0);
    }
    expect(calls.filter(({ method }) => method === "PATCH")).toHaveLength(1);
  });

  it("restarts ICE, and trickles for the new session from then on", async () => {
    vi.useFakeTimers();
    const fragment = "a=ice-ufrag:new\r\na=ice-pwd:newsecretnewsecretnewse\r\na=candidate:9 1 udp 9 10.0.0.9 9 typ host\r\n";
    let tag = "";
    const calls = fakeFetch(({ method, headers }) => {
      if (method === "POST") return created("/whip/den/ann/s1", { ETag: '"e1"' });
      tag = headers["If-Match"]!;
      return tag === "*" ? new Response(fragment, { headers: { ETag: '"e2"' } }) : new Response(null, { status: 204 });
    });
    const whip = client();
    await whip.start();
    peer().remoteDescription = { type: "answer", sdp: ANSWER };
    peer().iceGatheringState = "gathering";
    const restarted = whip.restart();
    await vi.advanceTimersByTimeAsync(400);
    expect(await restarted).toBe(true);
    expect(calls[1]).toMatchObject({ url: "http://relay.test/whip/den/ann/s1", method: "PATCH" });
    expect(calls[1]!.body.split("\r\n")).toEqual([
      "a=ice-ufrag:frag2",
      "a=ice-pwd:othersecretothersecret22",
      "m=audio 9 UDP/TLS/RTP/SAVPF 111",
      "a=mid:0",
      "a=candidate:1 1 udp 1 10.0.0.2 5000 typ host",
      "a=end-of-candidates",
      "",
    ]);
    expect(peer().remoteDescription?.sdp?.split("\r\n")).toEqual([
      "v=0",
      "m=audio 9 UDP/TLS/RTP/SAVPF 111",
      "a=ice-ufrag:new",
      "a=ice-pwd:newsecretnewsecretnewse",
      "a=candidate:9 1 udp 9 10.0.0.9 9 typ host",
      "a=setup:active",
    ]);
    peer().candidate({ candidate: "candidate:2 1 udp 1 10.0.0.3 5000 typ host", sdpMid: "0", sdpMLineIndex: 0 });
    await vi.advanceTimersByTimeAsync(0);
    expect(calls).toHaveLength(3);
    expect(tag).toBe('"e2"');
  });

  it("restarts ICE once where two ask for it", async () => {
    const calls = fakeFetch(async ({ method }) => {
      if (method === "POST") return created("/whip/den/ann/s1");
      await new Promise((resolve) => setTimeout(resolve, 20));
      return new Response("a=ice-ufrag:new\r\n", { headers: { ETag: '"e2"' } });
    });
    const whip = client();
    await whip.start();
    const first = whip.restart();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await Promise.all([first, whip.restart()])).toEqual([true, true]);
    expect(calls.map(({ method }) => method)).toEqual(["POST", "PATCH"]);
    expect(await whip.restart()).toBe(true); // the next one is another
    expect(calls).toHaveLength(3);
  });

  it("asks for no session where it was closed before", async () => {
    const calls = fakeFetch(() => created("/whip/den/ann/s1"));
    const whip = client();
    peer().iceGatheringState = "gathering";
    const started = whip.start();
    await new Promise((resolve) => setTimeout(resolve, 0));
    await whip.close();
    peer().gatheringIs("complete");
    await started;
    expect(calls).toEqual([]);
  });

  it.each([
    ["that knows the session no longer", () => problem(404, "There is no such session.")],
    ["without restarts", () => new Response(null, { status: 204 })],
    ["that cannot be reached", () => Promise.reject(new TypeError("fetch failed"))],
  ])("says that there is no restart with a server %s", async (_, answer) => {
    fakeFetch(({ method }) => (method === "POST" ? created("/whip/den/ann/s1") : answer()));
    const whip = client();
    expect(await whip.restart()).toBe(false); // there is no session yet
    await whip.start();
    expect(await whip.restart()).toBe(false);
  });

  it("leaves a session to the server", async () => {
    const calls = fakeFetch(() => created("/whip/den/ann/s1"));
    const whip = client();
    await whip.start();
    whip.abandon();
    expect(peer().connectionState).toBe("closed");
    expect(calls).toHaveLength(1);
  });

  it("takes the other side's DTLS close for the end", () => {
    const seen: Health[] = [];
    client([], (health) => seen.push(health));
    peer().become("connected");
    const transport = peer().transceivers[0]!.receiver.transport;
    transport.state = "closed";
    transport.dispatchEvent(new Event("statechange"));
    peer().become("failed");
    expect(seen).toEqual(["connected", "ended"]);
  });

  it("swaps devices without negotiating", async () => {
    const whip = client();
    const track = { kind: "video" } as MediaStreamTrack;
    await whip.replace(track);
    expect(peer().transceivers[1]!.sender.replaceTrack).toHaveBeenCalledWith(track);
    expect(peer().transceivers[0]!.sender.replaceTrack).not.toHaveBeenCalled();
  });
});

describe("sdpFragment", () => {
  it("groups candidates under their media", () => {
    const candidate = (sdpMLineIndex: number, text: string): RTCIceCandidate =>
      ({ candidate: text, sdpMid: String(sdpMLineIndex), sdpMLineIndex }) as RTCIceCandidate;
    expect(sdpFragment(OFFER, [candidate(1, "candidate:b"), candidate(0, "candidate:a")]).split("\r\n")).toEqual([
      "a=ice-ufrag:frag",
      "a=ice-pwd:secretsecretsecretsecret",
      "m=video 9 UDP/TLS/RTP/SAVPF 96",
      "a=mid:1",
      "a=candidate:b",
      "m=audio 9 UDP/TLS/RTP/SAVPF 111",
      "a=mid:0",
      "a=candidate:a",
      "",
    ]);
  });
});
