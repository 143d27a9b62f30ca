/** Milliseconds before attempt number `attempt` (from 0) is repeated: 0.3 s doubling to 5 s. */
export function backoffMs(attempt: number): number {
  return Math.min(5000, 300 * 2 ** Math.min(attempt, 10));
}
