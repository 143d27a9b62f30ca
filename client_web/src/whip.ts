import { HttpSession, newPeerConnection, preferVp8, watchHealth, type Health } from "./session";

/** What the picture is of: a screen is passed on untouched. */
export type Content = "camera" | "screen";

export interface PublishOptions {
  room: string;
  name: string;
  /** Whose registered photos are used. */
  persons?: readonly string[];
  content?: Content;
  onHealth: (health: Health) => void;
}

/** Publishes one camera and one microphone by WHIP (RFC 9725). */
export class WhipClient {
  readonly pc: RTCPeerConnection;
  private readonly session: HttpSession;
  private readonly senders = new Map<string, RTCRtpSender>();

  constructor(stream: MediaStream, options: PublishOptions) {
    const asked = new URLSearchParams((options.persons ?? []).map((person) => ["person", person]));
    if (options.content === "screen") asked.set("content", "screen");
    const query = asked.size > 0 ? `?${asked}` : "";
    this.pc = newPeerConnection();
    this.session = new HttpSession(this.pc, `/whip/${options.room}/${options.name}${query}`);
    for (const kind of ["audio", "video"] as const) {
      const track = stream.getTracks().find((each) => each.kind === kind);
      if (!track) continue;
      const transceiver = this.pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
      if (kind === "video") preferVp8(transceiver, RTCRtpSender.getCapabilities("video"));
      this.senders.set(kind, transceiver.sender);
    }
    watchHealth(this.pc, options.onHealth);
  }

  start(): Promise<void> {
    return this.session.start();
  }

  /** As `HttpSession.restart`. */
  restart(): Promise<boolean> {
    return this.session.restart();
  }

  /** Another camera or microphone without a new negotiation; a closed connection sends none any more. */
  async replace(track: MediaStreamTrack): Promise<void> {
    if (this.pc.connectionState === "closed") return;
    await this.senders.get(track.kind)?.replaceTrack(track);
  }

  /** As `HttpSession.abandon`. */
  abandon(): void {
    this.session.abandon();
  }

  close(keepalive = false): Promise<void> {
    return this.session.close(keepalive);
  }
}
