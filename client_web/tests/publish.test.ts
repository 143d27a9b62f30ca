import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Publication, type PublishState } from "../src/publish";
import { FakeMediaStream, FakePeerConnection, created, fakeFetch, problem, stubBrowser, type Call } from "./fakes";

let states: PublishState[];
let taken: boolean;
let publication: Publication;
const peer = (): FakePeerConnection => FakePeerConnection.made.at(-1)!;
const last = (): PublishState => states.at(-1)!;

/** A relay that takes sessions, and restarts their ICE. */
const restartable = ({ method }: Call): Response =>
  method === "POST" ? created("/whip/den/ann/s1") : new Response("a=ice-ufrag:new\r\n", { headers: { ETag: '"2"' } });

function publish(): void {
  const stream = new FakeMediaStream([{ kind: "video" }]) as unknown as MediaStream;
  publication = new Publication("den", "ann", stream, () => [], () => taken, (state) => states.push(state));
}

beforeEach(() => {
  vi.useFakeTimers();
  stubBrowser();
  states = [];
  taken = false;
  fakeFetch(({ method }) => (method === "POST" ? created("/whip/den/ann/s1") : new Response(null)));
});
afterEach(() => {
  publication.stop();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("Publication", () => {
  it("goes live, and joins again after a loss", async () => {
    publish();
    await vi.advanceTimersByTimeAsync(0);
    peer().become("connected");
    expect(last().kind).toBe("live");
    peer().become("failed");
    expect(last()).toEqual({ kind: "lost", words: "The connection is lost." });
    await vi.advanceTimersByTimeAsync(3000);
    expect(FakePeerConnection.made).toHaveLength(2);
    peer().become("connected");
    expect(last().kind).toBe("live");
  });

  it("comes again when the relay says that there may be room", async () => {
    fakeFetch(() => new Response(null, { status: 503, headers: { "Retry-After": "20" } }));
    publish();
    await vi.advanceTimersByTimeAsync(19_000);
    expect(last()).toEqual({ kind: "lost", words: "The relay has no room for this now." });
    expect(FakePeerConnection.made).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1_500);
    expect(FakePeerConnection.made).toHaveLength(2);
  });

  it("lets ICE find its way back", async () => {
    publish();
    await vi.advanceTimersByTimeAsync(0);
    peer().become("connected");
    peer().become("disconnected");
    await vi.advanceTimersByTimeAsync(1000);
    peer().become("connected");
    await vi.advanceTimersByTimeAsync(10000);
    expect(FakePeerConnection.made).toHaveLength(1);
    expect(last().kind).toBe("live");
  });

  it("publishes a screen anew, and hands over from one camera to another", async () => {
    const urls: string[] = [];
    fakeFetch(({ url }) => {
      urls.push(url);
      return created("/whip/den/ann/s1");
    });
    publish();
    await vi.advanceTimersByTimeAsync(0);
    const stream = new FakeMediaStream([{ kind: "video" }]) as unknown as MediaStream;
    await publication.replace(stream, "screen");
    await publication.replace(stream, "screen");
    await vi.advanceTimersByTimeAsync(0);
    expect(urls).toEqual(["/whip/den/ann", "/whip/den/ann?content=screen"]);
    expect(peer().transceivers[0]!.sender.replaceTrack).toHaveBeenCalledOnce();
  });

  it("sends from another camera with the next connection where there is none now", async () => {
    fakeFetch(() => problem(503, "The room is full."));
    publish();
    await vi.advanceTimersByTimeAsync(0);
    const refused = FakePeerConnection.made.length;
    const stream = new FakeMediaStream([{ kind: "video" }]) as unknown as MediaStream;
    await publication.replace(stream);
    publication.hurry();
    expect(FakePeerConnection.made).toHaveLength(refused + 1);
    expect(peer().transceivers[0]!.init.streams).toEqual([stream]);
  });

  it("sends nothing any more once it is stopped", async () => {
    publish();
    await vi.advanceTimersByTimeAsync(0);
    const calls = fakeFetch(() => created("/whip/den/ann/s2"));
    publication.stop();
    await vi.advanceTimersByTimeAsync(2000);
    await publication.replace(new FakeMediaStream([{ kind: "video" }]) as unknown as MediaStream, "screen");
    await vi.advanceTimersByTimeAsync(0);
    expect(calls.map(({ method }) => method)).toEqual(["DELETE"]);
  });

  it("restarts ICE where the network is lost, and makes another session if that does not help", async () => {
    const calls = fakeFetch(restartable);
    publish();
    await vi.advanceTimersByTimeAsync(0);
    peer().become("connected");
    peer().become("disconnected");
    await vi.advanceTimersByTimeAsync(3900);
    expect(calls.map(({ method }) => method)).toEqual(["POST", "PATCH"]);
    await vi.advanceTimersByTimeAsync(200);
    expect(calls.map(({ method }) => method)).toEqual(["POST", "PATCH", "POST"]);
  });

  it("makes another session at once where the relay knows the old one no longer, and leaves that one to it", async () => {
    const methods: string[] = [];
    fakeFetch(({ method }) => {
      methods.push(method);
      return method === "POST" ? created("/whip/den/ann/s1") : problem(404, "There is no such session.");
    });
    publish();
    await vi.advanceTimersByTimeAsync(0);
    const first = peer();
    first.become("connected");
    first.become("disconnected");
    await vi.advanceTimersByTimeAsync(10);
    expect(methods).toEqual(["POST", "PATCH", "POST"]);
    peer().become("connected");
    expect(first.connectionState).toBe("disconnected"); // closed now, it would take its watchers along
    await vi.advanceTimersByTimeAsync(10_000);
    expect(first.connectionState).toBe("closed");
    expect(methods).toEqual(["POST", "PATCH", "POST"]); // no DELETE
    expect(last().kind).toBe("live");
  });

  it("closes the one before when the relay has ended it", async () => {
    publish();
    await vi.advanceTimersByTimeAsync(0);
    const first = peer();
    first.become("connected");
    publication.connect();
    first.transceivers[0]!.receiver.transport.state = "closed";
    first.transceivers[0]!.receiver.transport.dispatchEvent(new Event("statechange"));
    expect(first.connectionState).toBe("closed");
    await vi.advanceTimersByTimeAsync(5000);
    expect(FakePeerConnection.made).toHaveLength(2);
  });

  it("comes again at once when the room has lost it, and when the server answers again", async () => {
    publish();
    await vi.advanceTimersByTimeAsync(0);
    peer().become("connected");
    fakeFetch(() => Promise.reject(new TypeError("fetch failed")));
    publication.forgotten();
    expect(FakePeerConnection.made).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(20_000);
    const before = FakePeerConnection.made.length;
    fakeFetch(() => created("/whip/den/ann/s2"));
    publication.hurry();
    expect(FakePeerConnection.made).toHaveLength(before + 1);
    await vi.advanceTimersByTimeAsync(0);
    peer().become("connected");
    publication.hurry(); // there is nothing to hurry
    expect(FakePeerConnection.made).toHaveLength(before + 1);
  });

  it("does not fight another window for the name", async () => {
    publish();
    await vi.advanceTimersByTimeAsync(0);
    peer().become("connected");
    taken = true;
    peer().transceivers[0]!.receiver.transport.state = "closed";
    peer().transceivers[0]!.receiver.transport.dispatchEvent(new Event("statechange"));
    await vi.advanceTimersByTimeAsync(10000);
    expect(FakePeerConnection.made).toHaveLength(1);
    expect(last()).toEqual({ kind: "refused", words: "Another window or device joined as ann." });
  });

  it("does not come again by itself once its pictures were refused", async () => {
    publish();
    await vi.advanceTimersByTimeAsync(0);
    peer().become("connected");
    publication.refuse("The pictures are too large.");
    publication.forgotten();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(FakePeerConnection.made).toHaveLength(1);
    expect(last()).toEqual({ kind: "refused", words: "The pictures are too large." });
    publication.connect();
    await vi.advanceTimersByTimeAsync(0);
    expect(FakePeerConnection.made).toHaveLength(2);
  });

  it("tries again, more and more slowly, while the server is away", async () => {
    fakeFetch(() => Promise.reject(new TypeError("fetch failed")));
    publish();
    await vi.advanceTimersByTimeAsync(0);
    expect(last()).toEqual({ kind: "lost", words: "The server cannot be reached." });
    await vi.advanceTimersByTimeAsync(1000);
    expect(FakePeerConnection.made).toHaveLength(3);
    await vi.advanceTimersByTimeAsync(20000);
    expect(FakePeerConnection.made.length).toBeLessThan(10);
  });

  it("looks for another way when the machine has another network", async () => {
    const calls = fakeFetch(restartable);
    publish();
    await vi.advanceTimersByTimeAsync(0);
    peer().become("connected");
    publication.moved();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(calls.map(({ method }) => method)).toEqual(["POST", "PATCH"]);
    expect(states.map(({ kind }) => kind)).toEqual(["connecting", "live"]);
  });

  it("takes who has its name for itself, a while after a loss", async () => {
    publish();
    await vi.advanceTimersByTimeAsync(0);
    peer().become("connected");
    fakeFetch(() => problem(409, "The name belongs to somebody else."));
    const first = peer();
    first.become("disconnected");
    await vi.advanceTimersByTimeAsync(100);
    expect(first.connectionState).toBe("closed"); // the name is to be free soon
    await vi.advanceTimersByTimeAsync(13_900);
    expect(last().kind).toBe("lost");
    await vi.advanceTimersByTimeAsync(8_000);
    expect(last()).toMatchObject({ kind: "refused", nameTaken: true });
  });

  it("does not repeat what the server refuses", async () => {
    fakeFetch(() => problem(409, "The name belongs to somebody else."));
    publish();
    await vi.advanceTimersByTimeAsync(20000);
    expect(FakePeerConnection.made).toHaveLength(1);
    expect(last()).toEqual({ kind: "refused", words: "Somebody else in this room has this name.", nameTaken: true });
  });
});
