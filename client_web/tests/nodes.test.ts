import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { takeInvitation } from "../src/access";
import { request } from "../src/http";
import { locate } from "../src/locate";
import { allNodes, atNode, setClustered } from "../src/nodes";
import { stubBrowser } from "./fakes";

const ONE = "https://one.test";
const TWO = "https://two.test";
const TOKEN = `e.${btoa(JSON.stringify({ sub: "ann", video: { room: "den" } }))}.s`;
let asked: { url: string; token: string | undefined }[];

/** Nodes that answer, each with whom it takes to have the room. */
function nodesAnswer(owners: Record<string, string>): void {
  vi.stubGlobal("fetch", (url: string, init: RequestInit = {}) => {
    asked.push({ url, token: (init.headers as Record<string, string> | undefined)?.Authorization });
    const owner = owners[new URL(url).origin];
    if (!owner) return Promise.reject(new TypeError("no answer"));
    return Promise.resolve(Response.json({ room: "den", node: owner, nodes: Object.keys(owners) }));
  });
}

beforeEach(() => {
  stubBrowser();
  asked = [];
  const kept = new Map([["hime.token", TOKEN]]);
  vi.stubGlobal("sessionStorage", { getItem: (key: string) => kept.get(key) ?? null, setItem: () => null, removeItem: () => null });
  vi.stubGlobal("location", { href: `${ONE}/?room=den`, origin: ONE, pathname: "/", search: "?room=den", hash: "" });
  takeInvitation();
});
afterEach(() => {
  setClustered(false);
  vi.unstubAllGlobals();
});

describe("a relay of several nodes", () => {
  it("is asked at the node that has the room, with the token", async () => {
    setClustered(true);
    nodesAnswer({ [ONE]: TWO, [TWO]: TWO });
    await locate("den");
    await request("/api/rooms/den");
    expect(asked.at(-1)).toEqual({ url: `${TWO}/api/rooms/den`, token: `Bearer ${TOKEN}` });
  });

  it("is asked at another node when that one is lost", async () => {
    setClustered(true);
    nodesAnswer({ [ONE]: TWO, [TWO]: TWO });
    await locate("den");
    nodesAnswer({ [ONE]: ONE });
    await locate("den");
    expect(atNode("/whip/den/ann")).toBe(`${ONE}/whip/den/ann`);
    expect([...allNodes()].sort()).toEqual([ONE, TWO]);
  });

  it("is asked where it was when no node answers", async () => {
    setClustered(true);
    nodesAnswer({ [ONE]: TWO, [TWO]: TWO });
    await locate("den");
    nodesAnswer({});
    await locate("den");
    expect(atNode("/x")).toBe(`${TWO}/x`);
  });

  it("gives the token to nobody else", async () => {
    setClustered(true);
    nodesAnswer({ "https://evil.test": ONE });
    await request("https://evil.test/");
    expect(asked.at(-1)).toEqual({ url: "https://evil.test/", token: undefined });
  });

  it("is asked again where the room has moved, as browsers send no token on", async () => {
    setClustered(true);
    vi.stubGlobal("fetch", () => Promise.resolve({ type: "opaqueredirect" }));
    expect((await request("/whip/den/ann", { method: "POST" })).status).toBe(503);
  });
});

it("a relay that is alone is asked at its own address, and for no node", async () => {
  nodesAnswer({ [ONE]: TWO });
  await locate("den");
  expect(asked).toEqual([]);
  expect(atNode("/x")).toBe("/x");
});
