import { HttpSession, newPeerConnection, preferVp8, watchHealth, type Health } from "./session";

export interface PublishOptions {
  room: string;
  name: string;
  /** Whose registered photos are used. */
  persons?: readonly string[];
  onHealth: (health: Health) => void;
}

/** Publishes one camera and one microphone by WHIP (RFC 9725). */
export class WhipClient {
  readonly pc: RTCPeerConnection;
  private readonly session: HttpSession;
  private readonly senders = new Map<string, RTCRtpSender>();

  constructor(stream: MediaStream, options: PublishOptions) {
    const persons = new URLSearchParams((options.persons ?? []).map((person) => ["person", person]));
    const query = persons.size > 0 ? `?${persons}` : "";
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

  /** Another camera or microphone without a new negotiation. */
  async replace(track: MediaStreamTrack): Promise<void> {
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
