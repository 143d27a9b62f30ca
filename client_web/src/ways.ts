import { errorOf, request } from "./http";
import { gathered } from "./session";

/** A path that media may take to the relay. */
export type Kind = "udp" | "turn-udp" | "turn-tcp" | "turn-tls";

/** How an address of one's own was found: as it is, behind a name that the browser made up, by STUN, or at TURN. */
export type Found = "host" | "hidden" | "reflexive" | "relayed";

export interface Way {
  kind: Kind;
  /** Of the TURN server; empty for the straight way. */
  server: string;
}

export interface Tried extends Way {
  connected: boolean;
  /** Of the connection that came about; null without one. */
  roundTripMs: number | null;
  found: readonly Found[];
  /** Whether the TURN server refused its credentials. */
  refused: boolean;
}

/** That one user tries: each takes a place of the relay's. */
const MOST_SERVERS = 4;
const GATHERING_MS = 4000;
const CONNECTING_MS = 7000;
/** STUN's and TURN's errors for wrong credentials (RFC 8489 section 9.2). */
const UNAUTHORIZED = [401, 431, 441];

/** The straight way, and one by each TURN server. */
export function waysBy(servers: readonly RTCIceServer[]): { way: Way; servers: RTCIceServer[] }[] {
  const urls = servers.flatMap((server) => [server.urls].flat().map((url) => ({ ...server, urls: url })));
  const turn = urls.filter(({ urls }) => /^turns?:/.test(urls)).slice(0, MOST_SERVERS);
  const stun = urls.filter(({ urls }) => urls.startsWith("stun"));
  return [
    { way: { kind: "udp", server: "" }, servers: stun },
    ...turn.map((server) => ({ way: turnWay(server.urls), servers: [server] })),
  ];
}

/** RFC 7065; TLS over UDP is not told apart. */
function turnWay(url: string): Way {
  const [, scheme, server = "", transport = "udp"] = /^(turns?):([^?]*)(?:\?transport=(\w+))?$/.exec(url) ?? [];
  return { kind: scheme === "turns" ? "turn-tls" : transport === "tcp" ? "turn-tcp" : "turn-udp", server };
}

/** Tries a way by a connection to the relay that carries nothing. Throws HttpError where the relay refuses the test. */
export async function tryWay(way: Way, servers: RTCIceServer[], endpoint: string): Promise<Tried> {
  const iceTransportPolicy = way.kind === "udp" ? "all" : "relay";
  const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers: servers, iceTransportPolicy });
  const found = new Set<Found>();
  let refused = false;
  pc.addEventListener("icecandidate", ({ candidate }) => {
    const kind = candidate?.candidate ? foundBy(candidate) : null;
    if (kind) found.add(kind);
  });
  pc.addEventListener("icecandidateerror", ({ errorCode }) => (refused ||= UNAUTHORIZED.includes(errorCode)));
  let connected = false;
  let roundTripMs = null;
  try {
    pc.addTransceiver("audio", { direction: "recvonly" });
    await pc.setLocalDescription(await pc.createOffer());
    await gathered(pc, GATHERING_MS);
    // without an address at the TURN server there is no way by it
    if (way.kind === "udp" || found.has("relayed")) {
      const headers = { "Content-Type": "application/sdp" };
      const answer = await request(endpoint, { method: "POST", headers, body: pc.localDescription?.sdp ?? "" });
      if (!answer.ok) throw await errorOf(answer);
      await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
      connected = await connects(pc, CONNECTING_MS);
      if (connected) roundTripMs = await roundTrip(pc);
    }
  } finally {
    pc.close();
  }
  return { ...way, connected, roundTripMs, found: [...found], refused };
}

function foundBy({ type, protocol, address, candidate }: RTCIceCandidate): Found | null {
  if (protocol !== "udp" || !type) return null;
  if (type === "host") return (address ?? candidate).includes(".local") ? "hidden" : "host";
  return type === "relay" ? "relayed" : "reflexive";
}

function connects(pc: RTCPeerConnection, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), timeoutMs);
    pc.addEventListener("connectionstatechange", () => {
      if (pc.connectionState !== "connected" && pc.connectionState !== "failed") return;
      clearTimeout(timer);
      resolve(pc.connectionState === "connected");
    });
  });
}

/** Of the pair that is used, ms; null where the browser does not tell. */
async function roundTrip(pc: RTCPeerConnection): Promise<number | null> {
  let seconds: number | null = null;
  (await pc.getStats()).forEach((report: RTCIceCandidatePairStats) => {
    if (report.type === "candidate-pair" && report.nominated) seconds = report.currentRoundTripTime ?? seconds;
  });
  return seconds === null ? null : seconds * 1000;
}
