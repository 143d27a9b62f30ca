/** Who the user of this page is, by the room token of an invitation link. The relay checks it; here it is only read. */
export interface Invitation {
  token: string;
  room: string;
  name: string;
  publish: boolean;
  watch: boolean;
  /** May invite others into the room. */
  admin: boolean;
}

/** What the relay asks of everyone. */
export interface Access {
  /** Whether an invitation is needed. */
  tokens: boolean;
  /** Whether everybody who can reach the relay may use it. */
  openToAll: boolean;
}

/** Of this tab alone, and gone with it. */
const STORED = "hime.token";
const LOOPBACK: Access = { tokens: false, openToAll: false };

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
export function accessOf(answer: { tokens?: unknown; open_to_all?: unknown } | null): Access {
  if (!answer) return LOOPBACK;
  return { tokens: answer.tokens === true, openToAll: answer.open_to_all === true };
}

/** What a room token (a JWT with LiveKit's `video` claim) says; null where it is none. */
export function read(token: string): Invitation | null {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
    const { sub, video } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown; video?: Record<string, unknown> };
    if (typeof sub !== "string" || typeof video?.room !== "string") return null;
    const [publish, watch] = [video.canPublish !== false, video.canSubscribe !== false];
    return { token, room: video.room, name: sub, publish, watch, admin: video.roomAdmin === true };
  } catch {
    return null;
  }
}
