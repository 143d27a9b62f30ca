import type { EventSource } from "eventsource";
import { eventSource, inWords, type HttpError } from "./http";
import { locate } from "./locate";
import { clustered } from "./nodes";

export interface ParticipantStats {
  fps_in: number;
  fps_out: number;
  state: "live" | "stalled";
  /** Frames by outcome since the stream began. */
  outcomes: Record<string, number>;
  latency_ms: number | null;
  /** Why the relay leaves frames out now: pixels, size_changes or frame_rate. */
  refused?: string;
  /** What becomes of the largest face: from how many exemplars it is enhanced, or why it is not. */
  face?: { exemplars: number; reason: string | null };
  /** Left out for a camera. */
  content?: "screen";
}
export type PictureState = "enhanced" | "carried" | "passed" | "waiting";

/** What happened to a participant's frames between two statistics: the best that any frame got. */
export function pictureState(before: ParticipantStats | undefined, now: ParticipantStats | undefined): PictureState {
  if (!now || now.state === "stalled") return "waiting";
  const rose = (outcome: string): boolean => (now.outcomes[outcome] ?? 0) > (before?.outcomes[outcome] ?? 0);
  if (rose("enhanced")) return "enhanced";
  return rose("carried") ? "carried" : "passed";
}

export type RoomStats = Record<string, ParticipantStats>;

/** Who is in the room, kept true by events and by each second's statistics. */
export class Roster {
  private readonly names = new Set<string>();

  constructor(private readonly onChange: (joined: string[], left: string[]) => void) {}

  has(name: string): boolean {
    return this.names.has(name);
  }

  list(): string[] {
    return [...this.names];
  }

  join(name: string): void {
    if (this.names.has(name)) return;
    this.names.add(name);
    this.onChange([name], []);
  }

  leave(name: string): void {
    if (this.names.delete(name)) this.onChange([], [name]);
  }

  /** The whole truth at once: whoever is missing has left, though no event told so. */
  reconcile(present: Iterable<string>): void {
    const now = new Set(present);
    const joined = [...now].filter((name) => !this.names.has(name));
    const left = [...this.names].filter((name) => !now.has(name));
    for (const name of joined) this.names.add(name);
    for (const name of left) this.names.delete(name);
    if (joined.length > 0 || left.length > 0) this.onChange(joined, left);
  }
}

export interface RoomHandlers {
  onRoster: (joined: string[], left: string[]) => void;
  onStats: (stats: RoomStats) => void;
  /** Somebody's media have come, or come again. */
  onJoined: (name: string) => void;
  /** The networks of these are lost, and they may come back: their pictures go on by themselves then. */
  onReconnecting: (names: ReadonlySet<string>) => void;
  onOnline: (online: boolean) => void;
  /** The relay does not let in, and would not at another try. */
  onRefused: (words: string) => void;
  /** The relay has ended somebody's stream because of what came of it. */
  onEnded: (participant: string, words: string) => void;
  /** The server is about to end, and the call with it, unless everyone has left before. */
  onDraining: (seconds: number) => void;
}

/** Statistics come each second; a stream silent for this long is dead, whatever the socket says. */
const SILENCE_MS = 6000;
/** The same where another node could go on with the call. */
const NODES_SILENCE_MS = 3000;
const RETRY_MS = 500;

/**
 * Follows one room's server-sent events until closed, through restarts of the server. The server begins with a
 * `joined` for everyone who is there.
 */
export class RoomFeed {
  readonly roster: Roster;
  reconnecting: ReadonlySet<string> = new Set();
  private source: EventSource | null = null;
  private refusal: HttpError | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private over = false;

  constructor(
    private readonly room: string,
    private readonly handlers: RoomHandlers,
  ) {
    this.roster = new Roster(handlers.onRoster);
    this.open();
  }

  close(): void {
    this.over = true;
    this.end();
  }

  private end(): void {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  private async reopen(): Promise<void> {
    await locate(this.room);
    if (!this.over) this.open();
  }

  private open(): void {
    this.end();
    this.refusal = null;
    const source = eventSource(`/api/rooms/${this.room}/events`, (error) => (this.refusal = error));
    this.source = source;
    const on = (event: string, handle: (data: unknown) => void): void =>
      source.addEventListener(event, (message) => {
        this.heard();
        handle(JSON.parse(message.data as string));
      });
    const named = (data: unknown): string => (data as { participant: string }).participant;
    on("joined", (data) => {
      const name = named(data);
      this.roster.join(name);
      this.miss([...this.reconnecting].filter((each) => each !== name));
      this.handlers.onJoined(name);
    });
    on("reconnecting", (data) => {
      this.roster.join(named(data));
      this.miss([...this.reconnecting, named(data)]);
    });
    on("left", (data) => {
      this.roster.leave(named(data));
      this.miss([...this.reconnecting].filter((each) => each !== named(data)));
    });
    on("stats", (data) => {
      const { participants, reconnecting = [] } = data as { participants: RoomStats; reconnecting?: string[] };
      this.roster.reconcile([...Object.keys(participants), ...reconnecting]);
      this.miss(reconnecting);
      this.handlers.onStats(participants);
    });
    on("refused", (data) => {
      const { participant, detail } = data as { participant: string; detail: string };
      this.handlers.onEnded(participant, detail);
    });
    on("draining", (data) => this.handlers.onDraining((data as { seconds: number }).seconds));
    source.addEventListener("open", () => {
      this.heard();
      this.handlers.onOnline(true);
    });
    source.addEventListener("error", () => this.lost());
    this.heard();
  }

  private miss(names: Iterable<string>): void {
    const before = this.reconnecting;
    const now = new Set(names);
    if (now.size === before.size && [...now].every((name) => before.has(name))) return;
    this.reconnecting = now;
    this.handlers.onReconnecting(now);
  }

  private heard(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.lost(), clustered ? NODES_SILENCE_MS : SILENCE_MS);
  }

  private lost(): void {
    if (!this.source) return;
    this.end();
    if (this.refusal?.isForGood) return this.handlers.onRefused(inWords(this.refusal));
    this.handlers.onOnline(false);
    this.timer = setTimeout(() => void this.reopen(), Math.max(RETRY_MS, 1000 * (this.refusal?.retryAfter ?? 0)));
  }
}
