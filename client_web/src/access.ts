/** Who the user of this page is, by the room token of an invitation link. The relay checks it; here it is only read. */
export interface Invitation {
  token: string;
  room: string;
  name: string;
  publish: boolean;
  watch: boolean;
  /** May invite others into the room, and see everybody's bank. */
  admin: boolean;
  /** Is known by this name in the room alone, so that no photos are kept under it. */
  guest: boolean;
  /** Who else's photos the stream may use. */
  persons: readonly string[];
}

/** What the relay asks of everyone. */
export interface Access {
  /** Whether an invitation is needed. */
  tokens: boolean;
  /** Whether everybody who can reach the relay may use it. */
  openToAll: boolean;
  /** Whether the relay is of several nodes. */
  cluster: boolean;
}

/** Of this tab alone, and gone with it. */
const STORED = "hime.token";
const LOOPBACK: Access = { tokens: false, openToAll: false, cluster: false };

interface Claims {
  sub?: unknown;
  video?: Record<string, unknown>;
  guest?: unknown;
  persons?: unknown;
}

let current: Invitation | null = null;

export function invitation(): Invitation | null {
  return current;
}

/**
 * Takes the token out of the address (`/?room=R#token=…`), where others could see it, and keeps it for this tab; without
 * one, the tab's earlier invitation counts, unless the address names another room. false: the link's token is damaged.
 */
export function takeInvitation(): boolean {
  const { hash, pathname, search } = location;
  const given = new URLSearchParams(hash.slice(1)).get("token");
  if (given !== null) {
    history.replaceState(null, "", pathname + search);
    sessionStorage.setItem(STORED, given);
  }
  current = read(sessionStorage.getItem(STORED) ?? "");
  const room = new URLSearchParams(search).get("room");
  if (given === null && current && room !== null && room !== current.room) current = null;
  if (!current) sessionStorage.removeItem(STORED);
  return given === null || current !== null;
}

/** An address for another tab, which does not share this one's invitation. */
export function withInvitation(path: string): string {
  return current ? `${path}#${new URLSearchParams({ token: current.token })}` : path;
}

/** As `GET /api/access` answered, null where it did not. */
export function accessOf(answer: { tokens?: unknown; open_to_all?: unknown; cluster?: unknown } | null): Access {
  if (!answer) return LOOPBACK;
  return { tokens: answer.tokens === true, openToAll: answer.open_to_all === true, cluster: answer.cluster === true };
}

/** What a room token (a JWT with LiveKit's `video` claim) says, as server/access/tokens.py has it; null where it is none. */
export function read(token: string): Invitation | null {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
    const { sub, video, guest, persons } = JSON.parse(new TextDecoder().decode(bytes)) as Claims;
    if (typeof sub !== "string" || typeof video?.room !== "string") return null;
    return {
      token,
      room: video.room,
      name: sub,
      publish: video.canPublish === true,
      watch: video.canSubscribe === true,
      admin: video.roomAdmin === true,
      guest: guest === true,
      persons: Array.isArray(persons) ? persons.filter((each) => typeof each === "string") : [],
    };
  } catch {
    return null;
  }
}
