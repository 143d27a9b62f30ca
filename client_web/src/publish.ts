import { backoffMs } from "./backoff";
import { HttpError, inWords } from "./http";
import { WhipClient } from "./whip";

export type PublishState =
  | { kind: "connecting" }
  | { kind: "live" }
  /** Tries again by itself. */
  | { kind: "lost"; words: string }
  /** Trying again would not help: another client uses the name, or the server refuses. */
  | { kind: "refused"; words: string; nameTaken?: boolean };

/**
 * Time between a loss and the next attempt. ICE may find a path again by itself meanwhile, and fresh statistics
 * tell whether another client has taken the name: two windows must not throw each other out in turns.
 */
const LOST_MS = 2500;

/** Keeps one's own stream published, through lost networks and restarts of the server. */
export class Publication {
  private client: WhipClient | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private attempt = 0;
  private stopped = false;

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
    clearTimeout(this.timer);
    void this.client?.close();
    const client: WhipClient = new WhipClient(this.stream, {
      room: this.room,
      name: this.name,
      persons: this.persons(),
      onHealth: (health) => {
        if (client !== this.client) return;
        if (health === "connected") {
          this.attempt = 0;
          clearTimeout(this.timer);
          this.onState({ kind: "live" });
        }
        if (health === "disconnected" || health === "ended") this.lost("The connection is lost.");
      },
    });
    this.client = client;
    this.onState({ kind: "connecting" });
    client.start().catch((error: unknown) => {
      if (client !== this.client || this.stopped) return;
      const status = error instanceof HttpError ? error.status : 0;
      const refused = status >= 400 && status < 500 && status !== 429;
      const nameTaken = status === 409;
      const words = nameTaken ? "Somebody else in this room has this name." : inWords(error);
      if (refused) this.onState({ kind: "refused", words, nameTaken });
      else this.retry(words, error instanceof HttpError ? error.retryAfter : null);
    });
  }

  /** The room no longer lists this stream: the server forgot it, whatever the connection says. */
  forgotten(): void {
    if (this.client?.pc.connectionState === "connected") this.lost("The server ended the connection.");
  }

  /** The relay has ended the stream because of what came of it: what it said once, it would say again. */
  refuse(words: string): void {
    clearTimeout(this.timer);
    void this.client?.close();
    this.client = null;
    this.onState({ kind: "refused", words });
  }

  async replace(stream: MediaStream): Promise<void> {
    this.stream = stream;
    await Promise.all(stream.getTracks().map((track) => this.client?.replace(track)));
  }

  stop(keepalive = false): void {
    this.stopped = true;
    clearTimeout(this.timer);
    void this.client?.close(keepalive);
    this.client = null;
  }

  private retry(words: string, seconds: number | null): void {
    clearTimeout(this.timer);
    this.onState({ kind: "lost", words });
    this.timer = setTimeout(() => this.connect(), Math.max(backoffMs(this.attempt++), 1000 * (seconds ?? 0)));
  }

  private lost(words: string): void {
    if (this.stopped) return;
    clearTimeout(this.timer);
    this.onState({ kind: "lost", words });
    const lostAt = performance.now();
    this.timer = setTimeout(() => {
      if (!this.takenOver(lostAt)) return this.connect();
      this.refuse(`Another window or device joined as ${this.name}.`);
    }, LOST_MS);
  }
}
