import { backoffMs } from "./backoff";
import { HttpError, inWords } from "./http";
import { t } from "./strings";
import { WhipClient, type Content } from "./whip";

export type PublishState =
  | { kind: "connecting" }
  | { kind: "live" }
  /** Tries again by itself. */
  | { kind: "lost"; words: string }
  /** Trying again would not help: another client uses the name, or the server refuses. */
  | { kind: "refused"; words: string; nameTaken?: boolean };

/**
 * Time between the other side's goodbye and the next attempt. Fresh statistics tell meanwhile whether another client
 * has taken the name: two windows must not throw each other out in turns.
 */
const LOST_MS = 2500;
/** An ICE restart finds a way within this time, or not at all. */
const RESTART_MS = 4000;
/** Browsers tell of a lost network no sooner than this after the last sign of life. */
const UNNOTICED_MS = 2000;
/**
 * For so long after a loss, whoever has the name is taken for this stream itself: without tokens, the relay knows its
 * publishers by their addresses, and those change with the network.
 */
const OWN_MS = 15000;
/** The relay ends a session that another one has followed as soon as that one's media come; at the latest, we do. */
const FOLLOWED_MS = 10000;

/** Keeps one's own stream published, through lost networks and restarts of the server. */
export class Publication {
  private client: WhipClient | null = null;
  /**
   * Those that were published before. Who watches goes over from one to the next, if the relay sees that by itself: a
   * session that is ended from here takes its watchers along.
   */
  private readonly followed = new Set<WhipClient>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private waiting = false;
  private attempt = 0;
  private lostAt = -Infinity;
  private stopped = false;
  private content: Content = "camera";

  /** `takenOver` tells whether frames of this name reach the room though this connection was lost at that time. */
  constructor(
    private readonly room: string,
    private readonly name: string,
    private stream: MediaStream,
    private readonly persons: () => readonly string[],
    private readonly takenOver: (lostAt: number) => boolean,
    private readonly onState: (state: PublishState) => void,
  ) {
    this.connect();
  }

  /** Publishes anew: after a loss, or because another person's photos are to be used. */
  connect(): void {
    if (this.stopped) return;
    this.clear();
    if (this.client) this.follow(this.client);
    const client: WhipClient = new WhipClient(this.stream, {
      room: this.room,
      name: this.name,
      persons: this.persons(),
      content: this.content,
      onHealth: (health) => {
        if (health === "ended") this.drop(client);
        if (client !== this.client) return;
        if (health === "connected") {
          this.attempt = 0;
          this.lostAt = Infinity;
          this.clear();
          this.onState({ kind: "live" });
        }
        if (health === "disconnected") void this.recover(client);
        if (health === "ended") this.lost();
      },
    });
    this.client = client;
    this.onState({ kind: "connecting" });
    client.start().catch((error: unknown) => {
      if (client !== this.client || this.stopped) return;
      const status = error instanceof HttpError ? error.status : 0;
      const nameTaken = status === 409 && performance.now() > this.lostAt + OWN_MS;
      const refused = nameTaken || (status >= 400 && status < 500 && status !== 429 && status !== 409);
      // The relay takes this for a stranger: nobody will go over to it, and the name is to be free soon.
      if (status === 409) for (const each of this.followed) this.drop(each);
      const words = nameTaken ? t.problems["name-taken"] : inWords(error);
      if (refused) this.onState({ kind: "refused", words, nameTaken });
      else this.retry(words, error instanceof HttpError ? error.retryAfter : null);
    });
  }

  /** The room no longer lists this stream, or has lost it: whatever the connection says, it leads nowhere. */
  forgotten(): void {
    if (this.stopped || this.client?.pc.connectionState !== "connected") return;
    this.noteLoss();
    this.onState({ kind: "lost", words: t.call.serverEnded });
    this.connect();
  }

  /** The server answers again: an attempt that waits for its time is made now. */
  hurry(): void {
    if (this.waiting) this.connect();
  }

  /** This machine has another network: another way is looked for before the one in use is known to be lost. */
  moved(): void {
    if (this.waiting) this.connect();
    else if (this.client?.pc.connectionState === "connected") void this.client.restart();
  }

  /** The relay has ended the stream because of what came of it: what it said once, it would say again. */
  refuse(words: string): void {
    this.clear();
    void this.client?.close();
    this.client = null;
    this.onState({ kind: "refused", words });
  }

  /** Sends these tracks from now on; published anew where the picture is of something else, as the relay is to know. */
  async replace(stream: MediaStream, content: Content = this.content): Promise<void> {
    this.stream = stream;
    if (content !== this.content) {
      this.content = content;
      return this.connect();
    }
    await Promise.all(stream.getTracks().map((track) => this.client?.replace(track)));
  }

  stop(keepalive = false): void {
    this.stopped = true;
    this.clear();
    for (const client of [...this.followed, ...(this.client ? [this.client] : [])]) void client.close(keepalive);
    this.followed.clear();
    this.client = null;
  }

  private retry(words: string, seconds: number | null): void {
    this.clear();
    this.onState({ kind: "lost", words });
    this.waiting = true;
    this.timer = setTimeout(() => this.connect(), Math.max(backoffMs(this.attempt++), 1000 * (seconds ?? 0)));
  }

  private lost(): void {
    if (this.stopped) return;
    this.clear();
    this.noteLoss();
    this.onState({ kind: "lost", words: t.call.connectionLost });
    const lostAt = performance.now();
    this.timer = setTimeout(() => this.again(lostAt), LOST_MS);
  }

  /** First by another way for the same session, then by another session. */
  private async recover(client: WhipClient): Promise<void> {
    if (this.stopped) return;
    this.clear();
    this.noteLoss();
    this.onState({ kind: "lost", words: t.call.connectionLost });
    const lostAt = performance.now() - UNNOTICED_MS;
    const restarted = await client.restart();
    if (client !== this.client || this.stopped) return;
    if (client.pc.connectionState === "connected") return this.onState({ kind: "live" });
    this.clear();
    if (restarted) this.timer = setTimeout(() => this.again(lostAt), RESTART_MS);
    else this.again(lostAt);
  }

  private again(lostAt: number): void {
    if (!this.takenOver(lostAt)) return this.connect();
    this.refuse(t.call.takenOver(this.name));
  }

  private noteLoss(): void {
    this.lostAt = Math.min(this.lostAt, performance.now());
  }

  private follow(client: WhipClient): void {
    this.followed.add(client);
    setTimeout(() => this.drop(client), FOLLOWED_MS);
  }

  private drop(client: WhipClient): void {
    if (this.followed.delete(client)) client.abandon();
  }

  private clear(): void {
    clearTimeout(this.timer);
    this.waiting = false;
  }
}
