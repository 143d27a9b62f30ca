import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Publication, type PublishState } from "../src/publish";
import { FakeMediaStream, FakePeerConnection, created, fakeFetch, problem, stubBrowser } from "./fakes";

let states: PublishState[];
let taken: boolean;
let publication: Publication;
const peer = (): FakePeerConnection => FakePeerConnection.made.at(-1)!;
const last = (): PublishState => states.at(-1)!;

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

  it("does not fight another window for the name", async () => {
    publish();
    await vi.advanceTimersByTimeAsync(0);
    peer().become("connected");
    taken = true;
    publication.forgotten();
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

  it("does not repeat what the server refuses", async () => {
    fakeFetch(() => problem(409, "The name belongs to somebody else."));
    publish();
    await vi.advanceTimersByTimeAsync(20000);
    expect(FakePeerConnection.made).toHaveLength(1);
    expect(last()).toEqual({ kind: "refused", words: "Somebody else in this room has this name.", nameTaken: true });
  });
});
