import { request } from "./http";

/** News of the servers is good for so long: their credentials may end a minute after they were made. */
const FRESH_MS = 45_000;
/** A relay that does not answer in this time is tried without its servers. */
const PATIENCE_MS = 3000;

let known: RTCIceServer[] = [];
let toldAt = -Infinity;
let asking: Promise<void> | null = null;

/**
 * The STUN and TURN servers for a connection by that WHIP or WHEP endpoint, asked by OPTIONS where nothing fresh is
 * known. Never fails: where the relay does not tell, the servers known before are used, or none.
 */
export async function iceServersFor(endpoint: string): Promise<RTCIceServer[]> {
  if (performance.now() - toldAt > FRESH_MS) {
    asking ??= ask(endpoint).finally(() => (asking = null));
    await asking;
  }
  return known;
}

/** Takes what an answer tells of servers (RFC 9725 section 4.6). */
export function learnIceServers(answer: Response): void {
  known = iceServersOf(answer.headers.get("Link") ?? "");
  toldAt = performance.now();
}

async function ask(endpoint: string): Promise<void> {
  try {
    const answer = await request(endpoint, { method: "OPTIONS", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.ok) learnIceServers(answer);
  } catch {
    // the POST that follows tells what is wrong
  }
}

/** The ICE servers of a Link header, as `<turn:host>; rel="ice-server"; username="u"; credential="c"`. */
export function iceServersOf(header: string): RTCIceServer[] {
  const servers: RTCIceServer[] = [];
  for (const [, url, rest] of header.matchAll(/<([^>]+)>((?:\s*;\s*[\w-]+\s*=\s*(?:"[^"]*"|[^",;\s]+))*)/g)) {
    const values = [...rest!.matchAll(/([\w-]+)\s*=\s*(?:"([^"]*)"|([^",;\s]+))/g)];
    const given = new Map(values.map(([, key, quoted, bare]) => [key!.toLowerCase(), quoted ?? bare!]));
    if (given.get("rel") !== "ice-server") continue;
    const [username, credential] = [given.get("username"), given.get("credential")];
    // browsers make no connection at all where a TURN server is named without credentials
    if (username === undefined && /^turns?:/.test(url!)) continue;
    servers.push({ urls: url!, ...(username !== undefined ? { username, credential: credential ?? "" } : {}) });
  }
  return servers;
}
