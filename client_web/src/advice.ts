import type { Found, Kind, Tried } from "./ways";

export interface Advice {
  /** fair: calls work, and could be better. */
  verdict: "good" | "fair" | "bad";
  words: string;
  /** What could be changed, and by whom. */
  hints: readonly string[];
}

export const WAY: Record<Kind, string> = {
  udp: "UDP, straight to the relay",
  "turn-udp": "TURN over UDP",
  "turn-tcp": "TURN over TCP",
  "turn-tls": "TURN over TLS",
};

const FOUND: Record<Found, string> = {
  host: "its own address",
  hidden: "an address behind a made-up name (mDNS)",
  reflexive: "a public address, by STUN",
  relayed: "an address at the TURN server",
};

/** What the browser found of its own addresses, in a sentence. */
export function foundInWords(tried: readonly Tried[]): string {
  const found = new Set(tried.flatMap((each) => each.found));
  const told = (Object.keys(FOUND) as Found[]).filter((kind) => found.has(kind)).map((kind) => FOUND[kind]);
  if (told.length === 0) return "This browser offers no address at all.";
  return `This browser offers ${new Intl.ListFormat("en").format(told)}.`;
}

/** What the ways that were tried mean for a call, and what to change. */
export function adviceOn(tried: readonly Tried[]): Advice {
  const works = (kind: Kind): boolean => tried.some((each) => each.kind === kind && each.connected);
  const turn = tried.filter(({ kind }) => kind !== "udp");
  const refused = turn.find((each) => each.refused && !each.connected);
  const hints = refused
    ? [`For whoever runs the relay: ${refused.server} refuses its credentials; HIME_TURN_SECRET must be what the TURN server has.`]
    : [];
  if (works("udp")) return { verdict: "good", words: "Calls go straight to the relay. There is nothing to change.", hints };
  if (works("turn-udp")) {
    const ports = "For whoever runs the relay: no UDP comes through to it; open HIME_UDP_PORTS, or set HIME_ANNOUNCED_ADDRESS.";
    return { verdict: "good", words: "Calls go over the TURN server by UDP, a little longer than straight.", hints: [ports, ...hints] };
  }
  if (works("turn-tcp") || works("turn-tls")) {
    const words = "Calls work, over TCP: your network lets no UDP through, and the picture may stall for moments.";
    const server = turn.find(({ kind }) => kind === "turn-udp")?.server;
    const ask = `Ask whoever runs your network to let UDP out to the relay${server ? `, or to ${server}` : ""}.`;
    return { verdict: "fair", words, hints: [ask, ...hints] };
  }
  return { verdict: "bad", words: "No way leads from here to the relay: calls will not work.", hints: [...whereNothingWorks(tried), ...hints] };
}

function whereNothingWorks(tried: readonly Tried[]): string[] {
  if (tried.every(({ found }) => found.length === 0)) {
    return ["This browser gives away no address: a VPN, an extension or a policy of the browser forbids WebRTC. Allow it, or take another browser."];
  }
  const turn = tried.filter(({ kind }) => kind !== "udp");
  const another = "Try another network, such as a phone's.";
  if (turn.length === 0) {
    return [
      another,
      "Ask whoever runs your network to let UDP out to the relay, or whoever runs the relay to set up TURN over TLS (HIME_ICE_SERVERS), which most networks let through.",
    ];
  }
  const servers = [...new Set(turn.map(({ server }) => server))].join(", ");
  const tls = turn.some(({ kind }) => kind === "turn-tls")
    ? "Whoever runs the relay should look whether the TURN server runs, and reaches the relay."
    : "Whoever runs the relay could set up TURN over TLS on port 443, which most networks let through.";
  return [another, `Ask whoever runs your network to let out UDP, or TCP to ${servers}.`, tls];
}
