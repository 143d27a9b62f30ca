import { language, t } from "./strings";
import type { Found, Kind, Tried } from "./ways";

export interface Advice {
  /** fair: calls work, and could be better. */
  verdict: "good" | "fair" | "bad";
  words: string;
  /** What could be changed, and by whom. */
  hints: readonly string[];
}

/** What the browser found of its own addresses, in a sentence. */
export function foundInWords(tried: readonly Tried[]): string {
  const found = new Set(tried.flatMap((each) => each.found));
  const told = (Object.keys(t.check.found) as Found[]).filter((kind) => found.has(kind)).map((kind) => t.check.found[kind]);
  if (told.length === 0) return t.check.noAddress;
  return t.check.offers(new Intl.ListFormat(language).format(told));
}

/** What the ways that were tried mean for a call, and what to change. */
export function adviceOn(tried: readonly Tried[]): Advice {
  const works = (kind: Kind): boolean => tried.some((each) => each.kind === kind && each.connected);
  const turn = tried.filter(({ kind }) => kind !== "udp");
  const refused = turn.find((each) => each.refused && !each.connected);
  const hints = refused ? [t.check.refused(refused.server)] : [];
  if (works("udp")) return { verdict: "good", words: t.check.straight, hints };
  if (works("turn-udp")) {
    return { verdict: "good", words: t.check.byTurn, hints: [t.check.openPorts, ...hints] };
  }
  if (works("turn-tcp") || works("turn-tls")) {
    const server = turn.find(({ kind }) => kind === "turn-udp")?.server ?? "";
    return { verdict: "fair", words: t.check.byTcp, hints: [t.check.askUdp(server), ...hints] };
  }
  return { verdict: "bad", words: t.check.noWay, hints: [...whereNothingWorks(tried), ...hints] };
}

function whereNothingWorks(tried: readonly Tried[]): string[] {
  if (tried.every(({ found }) => found.length === 0)) {
    return [t.check.forbidden];
  }
  const turn = tried.filter(({ kind }) => kind !== "udp");
  if (turn.length === 0) return [t.check.another, t.check.setUpTurn];
  const servers = [...new Set(turn.map(({ server }) => server))].join(", ");
  const tls = turn.some(({ kind }) => kind === "turn-tls") ? t.check.turnRuns : t.check.turnTls;
  return [t.check.another, t.check.letOut(servers), tls];
}
