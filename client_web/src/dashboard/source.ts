import type { EventSource } from "eventsource";
import { HttpError, eventSource, getJson, inWords } from "../http";
import type { Point } from "./stats";

const RETRY_MS = 2000;
/** A point comes each second; silence for this long is a dead connection. */
const SILENCE_MS = 6000;

export interface SourceHandlers {
  onPoints: (points: Point[]) => void;
  onOnline: (online: boolean) => void;
  /** The relay does not let in, and would not at another try. */
  onRefused: (words: string) => void;
}

/** History once per connection, then live points; connects again by itself. */
export class StatsSource {
  private source: EventSource | null = null;
  private refusal: HttpError | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly handlers: SourceHandlers) {
    this.open();
  }

  private open(): void {
    this.refusal = null;
    const source = eventSource("/api/stats/events", (error) => (this.refusal = error));
    this.source = source;
    source.addEventListener("open", () => {
      this.heard();
      this.handlers.onOnline(true);
      getJson<{ points: Point[] }>("/api/stats")
        .then(({ points }) => this.handlers.onPoints(points))
        .catch(() => this.lost());
    });
    source.addEventListener("point", (event) => {
      this.heard();
      this.handlers.onPoints([JSON.parse(event.data as string) as Point]);
    });
    source.addEventListener("error", () => this.lost());
    this.heard();
  }

  private heard(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.lost(), SILENCE_MS);
  }

  private lost(): void {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    if (this.refusal?.isForGood) return this.handlers.onRefused(inWords(this.refusal));
    this.handlers.onOnline(false);
    this.timer = setTimeout(() => this.open(), Math.max(RETRY_MS, 1000 * (this.refusal?.retryAfter ?? 0)));
  }
}
