import { errorOf, request } from "./http";
import { iceServersFor, learnIceServers } from "./ice";

const FRAGMENT = "application/trickle-ice-sdpfrag";

/** Its ICE servers come with the session's start. */
export function newPeerConnection(): RTCPeerConnection {
  return new RTCPeerConnection({ bundlePolicy: "max-bundle" });
}

/** How long the offer waits for ICE gathering; later candidates are trickled. */
const GATHERING_MS = 1000;
/** Those of a restart: somebody waits for the picture. */
const RESTART_GATHERING_MS = 300;
/** Where a network is gone without a word, a request would wait for minutes. */
const ANSWER_MS = 15000;
const RESTART_ANSWER_MS = 3000;
/** How long a connection stays open for the relay to answer that the session has ended. */
const ENDING_MS = 1000;

/**
 * What WHIP (RFC 9725) and WHEP share: an offer goes out by POST, its answer comes back with the session's
 * address, late candidates and ICE restarts follow by PATCH (RFC 8840 fragments), DELETE ends the session.
 */
export class HttpSession {
  private url: string | null = null;
  private etag: string | null = null;
  private closed = false;
  private late: RTCIceCandidate[] = [];
  private trickling = false;
  private restarting: Promise<boolean> | null = null;

  constructor(
    readonly pc: RTCPeerConnection,
    private readonly endpoint: string,
  ) {
    pc.addEventListener("icecandidate", ({ candidate }) => {
      if (!candidate?.candidate || !this.trickling) return;
      this.late.push(candidate);
      void this.trickle();
    });
  }

  /** Negotiates once. Throws HttpError when the server refuses; the peer connection is closed then. */
  async start(): Promise<void> {
    try {
      const iceServers = await iceServersFor(this.endpoint);
      if (iceServers.length > 0) this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers });
      await this.pc.setLocalDescription(await this.pc.createOffer());
      await gathered(this.pc, GATHERING_MS);
      if (this.closed) return;
      const offer = this.pc.localDescription;
      if (!offer) throw new Error("The connection was closed.");
      this.trickling = this.pc.iceGatheringState !== "complete";
      const response = await request(this.endpoint, {
        method: "POST",
        headers: { "Content-Type": "application/sdp" },
        body: offer.sdp,
        signal: AbortSignal.timeout(ANSWER_MS),
      });
      if (!response.ok) throw await errorOf(response);
      const location = response.headers.get("Location");
      if (!location) throw new Error("The server named no session (no Location header).");
      // relative to where the answer came from, which after a redirect is not the endpoint (RFC 9725 section 4.5)
      this.url = new URL(location, response.url || new URL(this.endpoint, globalThis.location.href)).href;
      this.etag = response.headers.get("ETag");
      learnIceServers(response);
      const sdp = await response.text();
      if (this.closed) return await this.release();
      await this.pc.setRemoteDescription({ type: "answer", sdp });
      void this.trickle();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /**
   * Looks for another way under the same session, as after a change of networks (RFC 9725 section 4.3.3). False
   * where the server cannot do that, no longer knows the session, or does not answer soon. One at a time: whoever
   * asks meanwhile is answered as the first.
   */
  restart(): Promise<boolean> {
    return (this.restarting ??= this.restartOnce().finally(() => (this.restarting = null)));
  }

  private async restartOnce(): Promise<boolean> {
    if (!this.url || this.closed) return false;
    this.trickling = false;
    try {
      await this.pc.setLocalDescription(await this.pc.createOffer({ iceRestart: true }));
      await gathered(this.pc, RESTART_GATHERING_MS);
      const body = restartFragment(this.pc.localDescription?.sdp ?? "");
      this.late = [];
      this.etag = null; // late candidates wait for the new one
      this.trickling = this.pc.iceGatheringState !== "complete";
      const response = await request(this.url, {
        method: "PATCH",
        headers: { "Content-Type": FRAGMENT, "If-Match": "*" },
        body,
        signal: AbortSignal.timeout(RESTART_ANSWER_MS),
      });
      if (response.status !== 200) return false;
      const fragment = await response.text();
      const answer = restartedAnswer(this.pc.remoteDescription?.sdp ?? "", fragment);
      await this.pc.setRemoteDescription({ type: "answer", sdp: answer });
      this.etag = response.headers.get("ETag");
      void this.trickle();
      return true;
    } catch {
      return false; // the network is away, or the connection was closed meanwhile
    }
  }

  /** Closes this side only: the server has ended the session, or will. */
  abandon(): void {
    this.url = null;
    void this.close();
  }

  /** Ends the session on both sides; safe to call twice. `keepalive` lets the DELETE outlive the page. */
  async close(keepalive = false): Promise<void> {
    this.closed = true;
    if (saidGoodbye(this.pc)) this.url = null; // the server has ended the session
    if (keepalive || !this.url) this.pc.close();
    // asked first: a server that sees the connection close would know of no session that the request could end
    const ending = this.release(keepalive);
    await Promise.race([ending, new Promise((resolve) => setTimeout(resolve, ENDING_MS))]);
    this.pc.close();
  }

  private async release(keepalive = false): Promise<void> {
    const url = this.url;
    this.url = null;
    // a DELETE that finds nobody leaves nothing to undo: the server's own timeout ends the session
    if (url) await request(url, { method: "DELETE", keepalive }).catch(() => undefined);
  }

  private async trickle(): Promise<void> {
    if (!this.url || !this.etag || this.late.length === 0) return;
    const candidates = this.late.splice(0);
    const headers = { "Content-Type": FRAGMENT, "If-Match": this.etag };
    const body = sdpFragment(this.pc.localDescription?.sdp ?? "", candidates);
    const response = await request(this.url, { method: "PATCH", headers, body }).catch(() => null);
    // servers without trickle answer 405 or 501: the first candidates must do
    if (!response?.ok) this.trickling = false;
  }
}

/** Resolves when ICE gathering is complete or the time is over. */
export function gathered(pc: RTCPeerConnection, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    if (pc.iceGatheringState === "complete") return resolve();
    const done = (): void => {
      clearTimeout(timer);
      pc.removeEventListener("icegatheringstatechange", check);
      resolve();
    };
    const check = (): void => {
      if (pc.iceGatheringState === "complete") done();
    };
    const timer = setTimeout(done, timeoutMs);
    pc.addEventListener("icegatheringstatechange", check);
  });
}

/** The body of a trickle PATCH (RFC 8840 section 9): ICE credentials, then candidates by media section. */
export function sdpFragment(sdp: string, candidates: readonly RTCIceCandidate[]): string {
  const lines = sdp.split(/\r?\n/);
  const line = (prefix: string): string[] => lines.filter((each) => each.startsWith(prefix)).slice(0, 1);
  const media = lines.filter((each) => each.startsWith("m="));
  const out = [...line("a=ice-ufrag:"), ...line("a=ice-pwd:")];
  for (const mid of new Set(candidates.map((candidate) => candidate.sdpMid ?? "0"))) {
    const mine = candidates.filter((candidate) => (candidate.sdpMid ?? "0") === mid);
    out.push(media[mine[0]?.sdpMLineIndex ?? 0] ?? "m=audio 9 UDP/TLS/RTP/SAVPF 0", `a=mid:${mid}`);
    out.push(...mine.map((candidate) => `a=${candidate.candidate}`));
  }
  return out.join("\r\n") + "\r\n";
}

/** The body of a PATCH that restarts ICE: the offer's new ICE credentials and candidates, all bundled on one section. */
export function restartFragment(offer: string): string {
  const lines = offer.split(/\r?\n/);
  const [first = 0, end = lines.length] = lines.flatMap((line, at) => (line.startsWith("m=") ? [at] : []));
  const of = (...prefixes: string[]): string[] =>
    lines.slice(first, end).filter((line) => prefixes.some((prefix) => line.startsWith(prefix)));
  const credential = (prefix: string): string[] => lines.filter((line) => line.startsWith(prefix)).slice(0, 1);
  const out = [...credential("a=ice-ufrag:"), ...credential("a=ice-pwd:"), lines[first] ?? ""];
  return [...out, ...of("a=mid:", "a=candidate:", "a=end-of-candidates"), ""].join("\r\n");
}

/** The answer before, with the ICE credentials and candidates of the fragment that a restart was answered with. */
export function restartedAnswer(answer: string, fragment: string): string {
  const given = fragment.split(/\r?\n/);
  const find = (prefix: string): string => given.find((line) => line.startsWith(prefix)) ?? "";
  const isCandidate = (line: string): boolean => /^a=(candidate:|end-of-candidates)/.test(line);
  return answer
    .split(/\r?\n/)
    .filter((line) => !isCandidate(line))
    .flatMap((line) => {
      if (line.startsWith("a=ice-ufrag:")) return [find("a=ice-ufrag:")];
      if (line.startsWith("a=ice-pwd:")) return [find("a=ice-pwd:"), ...given.filter(isCandidate)];
      return [line];
    })
    .join("\r\n");
}

/** VP8 first: it is decoded and encoded fastest by the relay, and every browser has it. */
export function preferVp8(transceiver: RTCRtpTransceiver, capabilities: RTCRtpCapabilities | null): void {
  if (!capabilities || !("setCodecPreferences" in transceiver)) return;
  const isVp8 = (codec: RTCRtpCodec): boolean => codec.mimeType.toLowerCase() === "video/vp8";
  const vp8 = capabilities.codecs.filter(isVp8);
  if (vp8.length > 0) {
    transceiver.setCodecPreferences([...vp8, ...capabilities.codecs.filter((codec) => !isVp8(codec))]);
  }
}

/** Whether the other side has closed the connection. */
function saidGoodbye(pc: RTCPeerConnection): boolean {
  return pc.connectionState !== "closed" && pc.getTransceivers()[0]?.receiver.transport?.state === "closed";
}

export type Health = "connecting" | "connected" | "disconnected" | "ended";

/**
 * Tells how the connection fares. A DTLS close by the other side counts as the end at once; ICE alone would
 * notice it only after seconds.
 */
export function watchHealth(pc: RTCPeerConnection, onHealth: (health: Health) => void): void {
  let last: Health = "connecting";
  const report = (): void => {
    const dtls = pc.getTransceivers()[0]?.receiver.transport ?? null;
    let now: Health = last;
    if (pc.connectionState === "failed" || pc.connectionState === "closed") now = "ended";
    else if (dtls?.state === "closed" || dtls?.state === "failed") now = "ended";
    else if (pc.connectionState === "disconnected") now = "disconnected";
    else if (pc.connectionState === "connected") {
      now = "connected";
      dtls?.addEventListener("statechange", report);
    }
    if (now !== last && last !== "ended") onHealth((last = now));
  };
  pc.addEventListener("connectionstatechange", report);
}
