import { byId } from "../dom";
import { request } from "../http";
import { t } from "../strings";

export interface WorkerReadiness {
  number: number;
  state: "starting" | "ready" | "full" | "ending" | "down";
  reasons: string[];
}

const POLL_MS = 5000;
const words = t.dashboard.workers;

const notReady = (workers: readonly WorkerReadiness[]): WorkerReadiness[] =>
  workers.filter(({ state, reasons }) => state !== "ready" || reasons.length > 0);

/** How many there are in each state, and which of them are not ready. */
export function workersInWords(workers: readonly WorkerReadiness[]): string {
  const poor = notReady(workers);
  const which = poor.map(({ number, state, reasons }) => {
    return `${words.worker(number)}: ${state === "ready" ? reasons.join("; ") : words.states[state]}`;
  });
  return [words.ready(workers.length - poor.length, workers.length), ...which].join(" · ");
}

/** Shows them, where the relay has several; in view wherever one reads while one of them is not ready. */
export class WorkersNote {
  constructor() {
    void this.look();
    setInterval(() => {
      if (!document.hidden) void this.look();
    }, POLL_MS);
  }

  private async look(): Promise<void> {
    try {
      const response = await request("/readyz"); // which has a body also where it is 503
      const { workers = [] } = (await response.json()) as { workers?: WorkerReadiness[] };
      const note = byId("workers");
      note.hidden = workers.length === 0;
      note.toggleAttribute("data-poor", notReady(workers).length > 0);
      note.textContent = workersInWords(workers);
    } catch {
      // the server does not answer, of which the header tells
    }
  }
}
