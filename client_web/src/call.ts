import { invitation, withInvitation, type Access } from "./access";
import { PhotosAside } from "./aside";
import { BankStrip } from "./bank";
import { ControlBar } from "./controls";
import { stopMedia } from "./devices";
import { byId, el } from "./dom";
import { fitGrid } from "./grid";
import { icon } from "./icons";
import { InviteButton } from "./invite";
import type { Entry } from "./lobby";
import { registeredPerson, type PhotoDialog } from "./photos";
import { Publication, type PublishState } from "./publish";
import { RoomFeed, type RoomStats } from "./room";
import { Tile } from "./tile";

const GAP = 12;
/** As the server takes. */
const MOST_PERSONS = 8;
/** Height of a tile's name row and tools under its picture, as in call.css. */
const TILE_BAR = 84;
/** Below this tile width the page scrolls instead of shrinking further. */
const MIN_TILE = 280;
/** Statistics cover the second before them: those of the first moments after a loss still count the old frames. */
const STATS_LAG_MS = 1200;

const LEFT_OUT: Record<string, string> = {
  pixels: "Your picture is larger than this relay takes: others do not see it. Choose a smaller one.",
  size_changes: "Your picture changes its size too often: others see it stand still now and then.",
  frame_rate: "Your camera sends more pictures a second than this relay takes: some are left out.",
};

/** One call: the own stream, everyone else's tiles, and what the room tells. */
export class Call {
  private readonly tiles = new Map<string, Tile>();
  private readonly feed: RoomFeed;
  /** null for one who only watches. */
  private readonly publication: Publication | null;
  private readonly bank: BankStrip;
  private readonly aside: PhotosAside | null;
  private readonly stage = byId("tiles");
  private readonly banner = byId("banner");
  private readonly resize = new ResizeObserver(() => this.arrange());
  private readonly abort = new AbortController();
  private readonly joinedAs: string | null = registeredPerson();
  private stats: RoomStats = {};
  private statsAt = 0;
  private selfView = false;
  private online = true;
  private bannerOf: "publish" | "sound" | "person" | "photos" | "feed" | "frames" | "refused" | null = null;

  constructor(
    private readonly entry: Entry,
    access: Access,
    photos: PhotoDialog,
    /** With words where one left because the call could not be had. */
    private readonly onLeft: (words?: string) => void,
  ) {
    const { room, name, stream } = entry;
    this.bank = new BankStrip(room, name);
    byId("bank").replaceChildren(this.bank.element);
    this.bank.element.hidden = !stream && invitation()?.admin === false; // there is nothing that one may see
    byId("call-room").textContent = room;
    const dashboard = byId<HTMLAnchorElement>("to-dashboard");
    dashboard.replaceChildren(icon("chart"), el("span", {}, ["Dashboard"]));
    dashboard.href = withInvitation("/dashboard");
    const invite = new InviteButton(room, access);
    const controls = new ControlBar(entry, {
      onMedia: async (next) => this.publication?.replace(next),
      onSelfView: (on) => {
        this.selfView = on;
        this.reconcileTiles();
      },
      onPhotos: () => photos.open(name),
      onLeave: () => this.leave(),
    });
    byId("controls").replaceChildren(...controls.buttons);
    document.body.append(controls.dialog, invite.dialog);
    this.abort.signal.addEventListener("abort", () => {
      controls.close();
      invite.close();
    });

    const takenOver = (lostAt: number): boolean =>
      this.statsAt > lostAt + STATS_LAG_MS && (this.stats[name]?.fps_in ?? 0) > 0;
    this.publication =
      stream && new Publication(room, name, stream, () => this.persons(), takenOver, (state) => this.onPublish(state));
    this.feed = new RoomFeed(room, {
      onRoster: (_joined, left) => {
        if (left.includes(name)) this.publication?.forgotten();
        this.reconcileTiles();
      },
      onStats: (stats) => {
        this.stats = stats;
        this.statsAt = performance.now();
        for (const [each, tile] of this.tiles) void tile.update(stats[each]);
        this.leftOut(stats[name]?.refused);
      },
      onJoined: (each) => this.tiles.get(each)?.hurry(),
      onReconnecting: (names) => {
        for (const [each, tile] of this.tiles) tile.reconnecting = names.has(each);
        if (names.has(name)) this.publication?.forgotten();
      },
      onOnline: (online) => {
        if (!online) this.say("feed", "The server does not answer. Trying again…");
        else this.unsay("feed");
        if (online && !this.online) this.hurry();
        this.online = online;
      },
      onRefused: (words) => this.say("refused", words, "Leave", () => this.leave(words)),
      onEnded: (participant, words) => {
        if (participant === name) this.publication?.refuse(words);
      },
      onDraining: (seconds) => {
        const rest = Math.max(1, Math.round(seconds));
        this.say("feed", `The server restarts: this call breaks off in ${rest} s at most, and is then joined again.`);
      },
    });
    this.aside = stream && new PhotosAside(room, name, (names) => this.photosAside(names));
    this.resize.observe(this.stage);
    if (!stream) this.count(0);
    addEventListener("online", () => this.moved(), { signal: this.abort.signal });
    addEventListener("pagehide", () => this.end(true), { signal: this.abort.signal });
  }

  /** Photos were registered or deleted during the call; deletion takes effect by itself. */
  personChanged(): void {
    const person = registeredPerson();
    if (person && person !== this.joinedAs) {
      this.say("person", "Your photos are used once you publish anew.", "Use them now", () => this.publication?.connect());
    }
  }

  private persons(): string[] {
    const own = registeredPerson();
    return [...new Set([...(own ? [own] : []), ...this.entry.persons])].slice(0, MOST_PERSONS);
  }

  /** The relay leaves frames of one's own out, which others see as a picture that stands still. */
  private leftOut(reason: string | undefined): void {
    const words = reason && LEFT_OUT[reason];
    if (!words) return this.unsay("frames");
    if (this.bannerOf === null) this.say("frames", words);
  }

  private photosAside(names: string[]): void {
    if (names.length === 0) return this.unsay("photos");
    if (this.bannerOf !== null) return;
    const whose = names.join(" and ");
    this.say("photos", `The photos of ${whose} are not used: no face in your picture matches them.`, "All right");
  }

  private hurry(): void {
    this.publication?.hurry();
    for (const tile of this.tiles.values()) tile.hurry();
  }

  private moved(): void {
    this.publication?.moved();
    for (const tile of this.tiles.values()) tile.moved();
  }

  private leave(words?: string): void {
    this.end(false);
    this.onLeft(words);
  }

  private end(keepalive: boolean): void {
    this.abort.abort();
    this.feed.close();
    this.publication?.stop(keepalive);
    for (const tile of this.tiles.values()) tile.close(keepalive);
    this.tiles.clear();
    this.bank.close();
    this.aside?.close();
    this.resize.disconnect();
    this.unsay(this.bannerOf);
    stopMedia(this.entry.stream);
  }

  private reconcileTiles(): void {
    const { name, room } = this.entry;
    const others = this.feed.roster.list().filter((each) => each !== name);
    const blind = invitation()?.watch === false;
    const wanted = blind ? [] : this.feed.roster.has(name) && (others.length === 0 || this.selfView) ? [...others, name] : others;
    for (const [each, tile] of this.tiles) {
      if (wanted.includes(each)) continue;
      tile.close();
      this.tiles.delete(each);
    }
    const added: Tile[] = [];
    for (const each of wanted) {
      if (this.tiles.has(each)) continue;
      const tile = new Tile(room, each, each === name, { onSoundBlocked: () => this.askForSound() });
      tile.reconnecting = this.feed.reconnecting.has(each);
      this.tiles.set(each, tile);
      added.push(tile);
      this.stage.append(tile.element);
    }
    // by invitation, one sees one's own only
    const all = invitation()?.admin ?? true;
    this.bank.offer([...(all ? others : []), ...(this.feed.roster.has(name) ? [name] : [])]);
    this.count(others.length);
    this.arrange();
    for (const tile of added) tile.begin();
  }

  private count(others: number): void {
    let words = others === 0 ? "You are alone here" : `${others + 1} in the call`;
    if (invitation()?.watch === false) words += ". You are seen and heard; watching is not in your invitation";
    if (!this.publication) words = others === 0 ? "Nobody is here yet" : `${others} in the call, you watch`;
    byId("call-count").textContent = words;
  }

  private arrange(): void {
    const { clientWidth, clientHeight } = this.stage;
    const fit = fitGrid(this.tiles.size, clientWidth, clientHeight, GAP, TILE_BAR);
    const tileWidth = Math.max(fit.tileWidth, Math.min(MIN_TILE, clientWidth));
    this.stage.style.setProperty("--columns", String(fit.columns));
    this.stage.style.setProperty("--tile", `${tileWidth}px`);
  }

  private onPublish(state: PublishState): void {
    if (state.kind === "live") this.unsay("publish");
    if (state.kind === "lost") this.say("publish", `${state.words} Joining again…`);
    if (state.kind === "refused") {
      // an invitation is for one name; without, another can be chosen
      if (state.nameTaken && !invitation()) return this.leave(`${state.words} Choose another.`);
      this.say("publish", state.words, "Try again", () => this.publication?.connect());
    }
  }

  private askForSound(): void {
    this.say("sound", "The browser holds the sound back.", "Turn sound on", () => {
      for (const tile of this.tiles.values()) tile.unblockSound();
    });
  }

  private say(from: NonNullable<Call["bannerOf"]>, words: string, action?: string, act?: () => void): void {
    if (this.bannerOf === "refused") return; // nothing else matters any more
    const [text, button] = [...this.banner.children] as [HTMLElement, HTMLButtonElement];
    this.bannerOf = from;
    text.textContent = words;
    button.textContent = action ?? "";
    button.hidden = !action;
    button.onclick = () => {
      this.unsay(from);
      act?.();
    };
    this.banner.hidden = false;
  }

  private unsay(from: Call["bannerOf"]): void {
    if (this.bannerOf !== from) return;
    this.bannerOf = null;
    this.banner.hidden = true;
  }
}
