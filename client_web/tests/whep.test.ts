import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WhepClient, type WatchOptions } from "../src/whep";
import { FakePeerConnection, created, fakeFetch, problem, stubBrowser } from "./fakes";

const options: WatchOptions = {
  room: "den",
  participant: "bob",
  view: "compare",
  layout: "zoom",
  width: 1280,
  audio: true,
  onHealth: () => undefined,
};
const peer = (): FakePeerConnection => FakePeerConnection.made.at(-1)!;

beforeEach(stubBrowser);
afterEach(() => vi.unstubAllGlobals());

describe("WhepClient", () => {
  it("asks for the view, the layout and the width", async () => {
    const calls = fakeFetch(() => created("/whep/den/bob/s2"));
    await new WhepClient(options).start();
    await new WhepClient({ ...options, layout: "native", width: null }).start();
    expect(calls.map(({ url, method }) => [method, url])).toEqual([
      ["POST", "/whep/den/bob?view=compare&layout=zoom&width=1280"],
      ["POST", "/whep/den/bob?view=compare&layout=native"],
    ]);
  });

  it("receives sound and picture, VP8 first", () => {
    const whep = new WhepClient(options);
    expect(peer().transceivers.map(({ kind, init }) => [kind, init.direction])).toEqual([
      ["audio", "recvonly"],
      ["video", "recvonly"],
    ]);
    expect(peer().transceivers[1]!.preferences[0]!.mimeType).toBe("video/VP8");
    expect(whep.stream.getTracks()).toHaveLength(2);
  });

  it("takes no sound of oneself", () => {
    new WhepClient({ ...options, audio: false });
    expect(peer().transceivers.map(({ kind }) => kind)).toEqual(["video"]);
  });

  it("says why it cannot watch", async () => {
    fakeFetch(() => problem(404, "Nobody named bob is in the room."));
    await expect(new WhepClient(options).start()).rejects.toMatchObject({
      status: 404,
      message: "Nobody named bob is in the room.",
    });
  });

  it("deletes its session", async () => {
    const calls = fakeFetch(({ method }) => (method === "POST" ? created("/whep/den/bob/s2") : new Response(null)));
    const whep = new WhepClient(options);
    await whep.start();
    await whep.close();
    expect(calls.at(-1)).toMatchObject({ url: "http://relay.test/whep/den/bob/s2", method: "DELETE" });
  });
});
