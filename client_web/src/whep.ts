import { HttpSession, newPeerConnection, preferVp8, watchHealth, type Health } from "./session";

export const VIEWS = ["enhanced", "original", "compare"] as const;
export type View = (typeof VIEWS)[number];
export const LAYOUTS = ["upscale", "zoom", "native"] as const;
export type Layout = (typeof LAYOUTS)[number];

export interface WatchOptions {
  room: string;
  participant: string;
  view: View;
  layout: Layout;
  /** Pixels of the longer side that are shown; null: what the layout gives by itself. */
  width: number | null;
  /** false for one's own stream: nobody wants to hear oneself. */
  audio: boolean;
  onHealth: (health: Health) => void;
}

/** Watches one participant by WHEP. */
export class WhepClient {
  readonly pc: RTCPeerConnection;
  readonly stream = new MediaStream();
  private readonly session: HttpSession;

  constructor(options: WatchOptions) {
    const query = new URLSearchParams({ view: options.view, layout: options.layout });
    if (options.width !== null) query.set("width", String(options.width));
    this.pc = newPeerConnection();
    this.session = new HttpSession(this.pc, `/whep/${options.room}/${options.participant}?${query}`);
    if (options.audio) this.stream.addTrack(this.pc.addTransceiver("audio", { direction: "recvonly" }).receiver.track);
    const video = this.pc.addTransceiver("video", { direction: "recvonly" });
    preferVp8(video, RTCRtpReceiver.getCapabilities("video"));
    this.stream.addTrack(video.receiver.track);
    watchHealth(this.pc, options.onHealth);
  }

  start(): Promise<void> {
    return this.session.start();
  }

  /** As `HttpSession.restart`. */
  restart(): Promise<boolean> {
    return this.session.restart();
  }

  /** Frames per second that arrive and are shown; null before the first. */
  async fps(): Promise<number | null> {
    let fps: number | null = null;
    (await this.pc.getStats()).forEach((report: { type: string; kind?: string; framesPerSecond?: number }) => {
      if (report.type === "inbound-rtp" && report.kind === "video") fps = report.framesPerSecond ?? null;
    });
    return fps;
  }

  close(keepalive = false): Promise<void> {
    return this.session.close(keepalive);
  }
}
