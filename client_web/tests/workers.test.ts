import { describe, expect, it } from "vitest";
import { workersInWords, type WorkerReadiness } from "../src/dashboard/workers";

const worker = (number: number, state: WorkerReadiness["state"], ...reasons: string[]): WorkerReadiness => ({ number, state, reasons });

describe("workersInWords", () => {
  it("says how many are ready, and which are not", () => {
    expect(workersInWords([worker(1, "ready"), worker(2, "ready")])).toBe("2 of 2 workers are ready");
    expect(workersInWords([worker(1, "ready"), worker(2, "down", "it is down"), worker(3, "full")])).toBe(
      "1 of 3 workers are ready · worker 2: down, is started again · worker 3: full, takes nobody new",
    );
    expect(workersInWords([worker(1, "ready", "engine: no weights")])).toBe("0 of 1 workers are ready · worker 1: engine: no weights");
  });
});
