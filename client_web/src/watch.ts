import { backoffMs } from "./backoff";
import { HttpError, inWords } from "./http";
import { t } from "./strings";
import { WhepClient, type Received, type View, type WatchOptions } from "./whep";

export type Wanted = Pick<WatchOptions, "view" | "layout" | "width">;

export interface WatchHandlers {
  /** A video that already shows a frame, to take the place of the one before. */
  onVideo: (video: HTMLVideoElement, view: View) => void;
  /** What keeps the picture away, in words; null when it is back. */
  onTrouble: (words: string | null) => void;
}

/** ICE finds a way again within this time, by itself or by a restart, or not at all. */
const RECOVERY_MS = 2500;
/** No picture after this long: start over. */
const FIRST_FRAME_MS = 10000;

/**
 * Keeps one participant in view from the first show() on: changes view, layout and width without a gap (the old
 * picture stays until the new one is there), and tries again with growing pauses while the participant is present.
 */
export class Watch {
  private wanted: Wanted | null = null;
  private shown: WhepClient | null = null;
  private pending: WhepClient | null = null;
  private attempt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private stopped = false;
  private refused = false;
  private asked: Wanted | null = null; // by the session that is there, or about to be
  private absent = false;

  constructor(
    private readonly room: string,
    private readonly participant: string,
    private readonly audio: boolean,
    private readonly handlers: WatchHandlers,
  ) {}

  show(wanted: Wanted): void {
    const now = this.wanted;
    if (now && wanted.view === now.view && wanted.layout === now.layout && wanted.width === now.width) return;
    this.wanted = wanted;
    this.attempt = 0;
    this.refused = false; // of another view the relay may think otherwise
    this.connect();
  }

  /** Whether who is watched is waited for: who watches already goes on by itself, and nobody else can begin. */
  set away(absent: boolean) {
    const back = this.absent && !absent;
    this.absent = absent;
    if (back && this.asked !== this.wanted && !this.stopped && !this.refused) this.connect();
  }

  /** As `Publication.moved`. */
  moved(): void {
    if (this.shown) void this.shown.restart();
    else this.hurry();
  }

  /** The server answers again, or who is watched is there again: an attempt that waits for its time is made now. */
  hurry(): void {
    if (this.wanted && !this.pending && !this.shown && !this.stopped && !this.refused) this.connect();
  }

  async received(): Promise<Received | null> {
    return (await this.shown?.received()) ?? null;
  }

  stop(keepalive = false): void {
    this.end((client) => void client.close(keepalive));
  }

  /** Who is watched has left, and the relay has ended the sessions. */
  abandon(): void {
    this.end((client) => client.abandon());
  }

  private end(how: (client: WhepClient) => void): void {
    this.stopped = true;
    clearTimeout(this.timer);
    for (const client of [this.pending, this.shown]) if (client) how(client);
    this.pending = this.shown = null;
  }

  private connect(): void {
    clearTimeout(this.timer);
    void this.pending?.close();
    const wanted = this.wanted;
    if (!wanted || this.absent) return;
    this.asked = wanted;
    const client = new WhepClient({
      room: this.room,
      participant: this.participant,
      ...wanted,
      audio: this.audio,
      onHealth: (health) => {
        if (health === "ended") this.lost(client, t.tile.interrupted);
        if (health === "disconnected") void this.recover(client);
      },
    });
    this.pending = client;
    const video = document.createElement("video");
    video.muted = true;
    video.playsInline = true;
    video.autoplay = true;
    video.srcObject = client.stream;
    video.addEventListener("loadeddata", () => this.arrived(client, video, wanted.view), { once: true });
    this.timer = setTimeout(() => this.lost(client, t.tile.noPicture), FIRST_FRAME_MS);
    client.start().catch((error: unknown) => {
      const refusal = error instanceof HttpError ? error : null;
      this.lost(client, refusal?.status === 404 ? t.tile.waiting : inWords(error), refusal);
    });
  }

  private arrived(client: WhepClient, video: HTMLVideoElement, view: View): void {
    if (client !== this.pending) return;
    clearTimeout(this.timer);
    this.pending = null;
    this.attempt = 0;
    const before = this.shown;
    this.shown = client;
    this.handlers.onVideo(video, view);
    this.handlers.onTrouble(null);
    void before?.close();
  }

  private async recover(client: WhepClient): Promise<void> {
    const lostAt = performance.now();
    const restarted = await client.restart();
    const rest = restarted ? RECOVERY_MS : RECOVERY_MS - (performance.now() - lostAt);
    setTimeout(() => {
      if (client.pc.connectionState !== "connected") this.lost(client, t.tile.interrupted);
    }, rest);
  }

  private lost(client: WhepClient, words: string, refusal: HttpError | null = null): void {
    if (this.stopped || (client !== this.pending && client !== this.shown)) return;
    void client.close();
    if (client === this.shown) this.shown = null;
    if (client === this.pending) this.pending = null;
    this.handlers.onTrouble(words);
    if (this.pending) return;
    this.asked = null;
    clearTimeout(this.timer);
    this.refused = refusal?.isForGood ?? false;
    if (this.refused) return;
    this.timer = setTimeout(() => this.connect(), Math.max(backoffMs(this.attempt++), 1000 * (refusal?.retryAfter ?? 0)));
  }
}
