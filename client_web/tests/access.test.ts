import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { accessOf, invitation, read, takeInvitation, withInvitation } from "../src/access";
import { HttpError, eventSource, fetchAccess, inWords, request } from "../src/http";
import { inviteLink } from "../src/invite";
import { Pictures } from "../src/pictures";
import { WhipClient } from "../src/whip";
import { FakeMediaStream, created, fakeFetch, problem, stubBrowser } from "./fakes";

const encoded = (part: unknown): string =>
  btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(part))))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");
function token(sub: unknown, video: Record<string, unknown> | undefined): string {
  return [encoded({ alg: "HS256" }), encoded({ iss: "key", sub, exp: 4e9, video }), "signature"].join(".");
}
const ANN = token("ann", { room: "den", roomJoin: true, canPublish: true, canSubscribe: true });

let kept: Map<string, string>;
let replaced: string[];
function openPage(search: string, hash = ""): boolean {
  vi.stubGlobal("location", { href: `http://relay.test/${search}${hash}`, origin: "http://relay.test", pathname: "/", search, hash });
  return takeInvitation();
}

beforeEach(() => {
  kept = new Map();
  replaced = [];
  stubBrowser();
  vi.stubGlobal("sessionStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  });
  vi.stubGlobal("history", { replaceState: (_state: unknown, _title: string, url: string) => replaced.push(url) });
});
afterEach(() => {
  vi.unstubAllGlobals();
});

describe("an invitation", () => {
  it("is taken out of the address and kept for the tab", () => {
    expect(openPage("?room=den", `#token=${ANN}`)).toBe(true);
    expect(replaced).toEqual(["/?room=den"]);
    const rights = { publish: true, watch: true, admin: false, guest: false, persons: [] };
    expect(invitation()).toEqual({ token: ANN, room: "den", name: "ann", ...rights });
    expect(openPage("?room=den&name=ann")).toBe(true); // a reload
    expect(invitation()?.name).toBe("ann");
    expect(replaced).toHaveLength(1);
  });

  it("ends where the address names another room", () => {
    openPage("?room=den", `#token=${ANN}`);
    openPage("?room=attic");
    expect(invitation()).toBeNull();
    expect(kept.size).toBe(0);
  });

  it("may be damaged, and is not kept then", () => {
    for (const damaged of ["", "nonsense", "a.b.c", ANN.slice(0, 60), token("ann", undefined), token(7, { room: "den" })]) {
      expect(openPage("?room=den", `#${new URLSearchParams({ token: damaged })}`)).toBe(false);
      expect(invitation()).toBeNull();
      expect(kept.size).toBe(0);
    }
    expect(openPage("?room=den")).toBe(true);
  });

  it("tells rights and names beyond ASCII", () => {
    const admin = read(token("ann", { room: "den", canPublish: false, roomAdmin: true }));
    expect(admin).toMatchObject({ publish: false, watch: false, admin: true }); // what is not there is not given
    expect(read(token("zoë", { room: "den" }))?.name).toBe("zoë");
  });

  it("goes along to another tab", () => {
    openPage("?room=den", `#token=${ANN}`);
    expect(withInvitation("/dashboard")).toBe(`/dashboard#token=${ANN}`);
    openPage("?room=attic");
    expect(withInvitation("/dashboard")).toBe("/dashboard");
  });

  it("is made as a link that the page reads", () => {
    openPage("");
    const { search, hash } = new URL(inviteLink("den", ANN));
    expect([search, hash]).toEqual(["?room=den", `#token=${ANN}`]);
    expect(inviteLink("den")).toBe("http://relay.test/?room=den");
  });
});

describe("requests", () => {
  it("carry the token, whatever the method", async () => {
    openPage("?room=den", `#token=${ANN}`);
    const calls = fakeFetch(({ method }) => (method === "POST" ? created("/whip/den/ann/s1") : new Response(null)));
    const whip = new WhipClient(new FakeMediaStream([{ kind: "video" }]) as unknown as MediaStream, {
      room: "den",
      name: "ann",
      onHealth: () => undefined,
    });
    await whip.start();
    await whip.close(true);
    expect(calls.map(({ method, keepalive, headers }) => [method, keepalive, headers.Authorization])).toEqual([
      ["POST", false, `Bearer ${ANN}`],
      ["DELETE", true, `Bearer ${ANN}`],
    ]);
    expect(calls[0]!.headers["Content-Type"]).toBe("application/sdp");
  });

  it("are made in one place", () => {
    const sources = import.meta.glob<string>("../src/**/*.ts", { query: "?raw", import: "default", eager: true });
    const makers = Object.entries(sources).filter(([, text]) => /\bfetch\(|new EventSource|XMLHttpRequest|sendBeacon|Authorization/.test(text));
    expect(Object.keys(sources).length).toBeGreaterThan(20);
    expect(makers.map(([path]) => path)).toEqual(["../src/http.ts"]);
  });

  it("give the token to no other server", async () => {
    openPage("?room=den", `#token=${ANN}`);
    const calls = fakeFetch(() => new Response(null));
    await request("https://elsewhere.test/whip/den/ann/s1");
    await request("//elsewhere.test/x");
    expect(calls.map(({ headers }) => headers.Authorization)).toEqual([undefined, undefined]);
  });

  it("carry nothing where there is no invitation", async () => {
    openPage("?room=den");
    const calls = fakeFetch(() => new Response(null));
    await request("/api/rooms/den");
    expect(calls[0]!.headers).toEqual({});
  });

  it("read events as EventSource does, with the token", async () => {
    openPage("?room=den", `#token=${ANN}`);
    const body = 'event: joined\ndata: {"participant":\ndata: "ann"}\n\nevent: left\ndata: {}\n\n';
    const calls = fakeFetch(() => new Response(body, { headers: { "Content-Type": "text/event-stream" } }));
    const source = eventSource("http://relay.test/api/rooms/den/events", () => undefined);
    const data = await new Promise<string>((resolve) => source.addEventListener("joined", (event) => resolve(event.data as string)));
    source.close();
    expect(JSON.parse(data)).toEqual({ participant: "ann" });
    expect(calls[0]!.headers).toMatchObject({ Accept: "text/event-stream", Authorization: `Bearer ${ANN}` });
  });

  it("tell of events that are refused", async () => {
    openPage("?room=den");
    fakeFetch(() => problem(401, "A token is needed."));
    const refused: HttpError[] = [];
    const source = eventSource("http://relay.test/api/rooms/den/events", (error) => refused.push(error));
    await new Promise((resolve) => source.addEventListener("error", resolve));
    source.close();
    expect(refused).toHaveLength(1);
    expect(refused[0]).toMatchObject({ status: 401, isForGood: true });
  });
});

describe("what the relay asks", () => {
  it("is nothing where it does not tell", async () => {
    openPage("");
    for (const answer of [() => problem(404, "no"), () => Promise.reject(new TypeError("offline")), () => new Response("null")]) {
      fakeFetch(answer);
      expect(await fetchAccess()).toEqual({ tokens: false, openToAll: false, cluster: false });
    }
    fakeFetch(() => Response.json({ tokens: true, open_to_all: false }));
    expect(await fetchAccess()).toEqual({ tokens: true, openToAll: false, cluster: false });
    expect(accessOf({ open_to_all: true })).toEqual({ tokens: false, openToAll: true, cluster: false });
  });
});

describe("problems of a known kind", () => {
  const words = (status: number, kind: string, held: object, retryAfter: number | null = null): string =>
    inWords(new HttpError(status, "As the server says.", { type: `/problems/${kind}`, detail: "As the server says.", ...held }, retryAfter));
  it("are told in the page's own words, with the server's figures", () => {
    openPage("?room=den");
    expect(words(413, "photo-too-large", { photo: 2, most: 1000 })).toBe("Photo 2 is too large: at most 1000 bytes are taken.");
    expect(words(429, "too-often", {}, 7)).toBe("That was too often in a short time. It goes on in 7 s.");
    expect(words(503, "room-full", {})).toMatch(/^The room is full/);
    expect(words(403, "other-room", {})).toBe("Your invitation is for another room.");
  });
  it("are told in the server's where the page knows none", () => {
    openPage("?room=den");
    for (const kind of ["of-tomorrow", "toString", "__proto__"]) expect(words(400, kind, {})).toBe("As the server says.");
  });
});

describe("refusals", () => {
  const words = (status: number, detail?: string): string =>
    inWords(new HttpError(status, detail ?? `The server answered ${status}`, detail === undefined ? {} : { detail }));
  it("say what to do", () => {
    openPage("?room=den");
    expect(words(401)).toMatch(/by invitation only/);
    expect(words(403, "A page of another site may change nothing here.")).toBe("A page of another site may change nothing here.");
    expect(words(409, "The photos are not stored: delete some first.")).toBe("The photos are not stored: delete some first.");
    expect(words(429)).toMatch(/wait a moment/);
    expect(words(503)).toMatch(/no room/);
    expect(words(503, "The detector is not ready.")).toBe("The detector is not ready.");
    expect(words(400, "The room may hold letters only.")).toBe("The room may hold letters only.");
    openPage("?room=den", `#token=${ANN}`);
    expect(words(401)).toMatch(/has expired/);
    expect(words(403, "Publishing is not in it.")).toBe("Your invitation does not allow this. Publishing is not in it.");
  });
});

describe("Pictures", () => {
  it("frees each picture, and shows none that comes too late", async () => {
    const live = new Set<string>();
    let made = 0;
    vi.stubGlobal("URL", {
      createObjectURL: () => {
        const url = `blob:${made++}`;
        live.add(url);
        return url;
      },
      revokeObjectURL: (url: string) => live.delete(url),
    });
    const pictures = new Pictures();
    const [first, failed, late] = [{}, {}, {}] as HTMLImageElement[];
    await pictures.show(first!, Promise.resolve(new Blob()));
    await pictures.show(failed!, Promise.reject(new Error("403")));
    expect([first!.src, failed!.src]).toEqual(["blob:0", undefined]);
    let arrive: (blob: Blob) => void = () => undefined;
    const showing = pictures.show(late!, new Promise((resolve) => (arrive = resolve)));
    pictures.clear();
    arrive(new Blob());
    await showing;
    expect(late!.src).toBeUndefined();
    expect(live.size).toBe(0);
  });
});
