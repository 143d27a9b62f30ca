import { invitation, withInvitation, type Access } from "./access";
import { PhotosAside } from "./aside";
import { BankStrip } from "./bank";
import { Banner } from "./banner";
import { ControlBar } from "./controls";
import { stopMedia } from "./devices";
import { byId, el } from "./dom";
import { icon } from "./icons";
import { InviteButton } from "./invite";
import type { Entry } from "./lobby";
import { followOutput } from "./output";
import { registeredPerson, type FaceDialog } from "./photos";
import { Publication, type PublishState } from "./publish";
import { RoomFeed, type RoomStats } from "./room";
import { onShortcuts } from "./shortcuts";
import { Loudest, SPEAKS } from "./speaker";
import { Stage } from "./stage";
import { language, t } from "./strings";
import { Tile } from "./tile";

/** As the server takes. */
const MOST_PERSONS = 8;
/** Statistics cover the second before them: those of the first moments after a loss still count the old frames. */
const STATS_LAG_MS = 1200;

/** How often is listened to who speaks. */
const LISTEN_MS = 500;

/** One call: the own stream, everyone else's tiles, and what the room tells. */
export class Call {
  private readonly tiles = new Map<string, Tile>();
  private readonly feed: RoomFeed;
  /** null for one who only watches. */
  private readonly publication: Publication | null;
  private readonly bank: BankStrip;
  private readonly aside: PhotosAside | null;
  private readonly stage = new Stage();
  private readonly banner = new Banner();
  private readonly loudest = new Loudest();
  private readonly listening: ReturnType<typeof setInterval>;
  private readonly abort = new AbortController();
  private readonly joinedAs: string | null = registeredPerson();
  private stats: RoomStats = {};
  private statsAt = 0;
  private selfView = false;
  private online = true;

  constructor(
    private readonly entry: Entry,
    access: Access,
    face: FaceDialog,
    onCheck: () => void,
    /** With words where one left because the call could not be had. */
    private readonly onLeft: (words?: string) => void,
  ) {
    const { room, name, stream } = entry;
    this.bank = new BankStrip(room, name);
    byId("bank").replaceChildren(this.bank.element);
    this.bank.element.hidden = !stream && invitation()?.admin === false; // there is nothing that one may see
    byId("call-room").textContent = room;
    const dashboard = byId<HTMLAnchorElement>("to-dashboard");
    dashboard.replaceChildren(icon("chart"), el("span", {}, [t.page.dashboardShort]));
    dashboard.href = withInvitation("/dashboard");
    const invite = new InviteButton(room, access);
    const controls = new ControlBar(entry, {
      onMedia: async (next, content) => this.publication?.replace(next, content),
      onSelfView: (on) => {
        this.selfView = on;
        this.reconcileTiles();
      },
      onFace: () => face.open(name, { room, camera: () => entry.stream }),
      onCheck,
      onTrouble: (words) => this.banner.say("share", words, t.call.allRight),
      onLeave: () => this.leave(),
    });
    byId("controls").replaceChildren(...controls.buttons);
    document.body.append(controls.devices.element, controls.shortcuts, invite.dialog);
    const shortcuts = {
      mic: () => controls.toggle("audio"),
      camera: () => controls.toggle("video"),
      view: () => this.stage.main?.nextView(),
      full: () => this.stage.main?.fullScreen(),
      speaker: () => this.stage.toggle(),
      leave: () => this.leave(),
      help: () => controls.shortcuts.showModal(),
    };
    onShortcuts(shortcuts, this.abort.signal);
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
        for (const [each, tile] of this.tiles) tile.update(stats[each]);
        this.leftOut(stats[name]?.refused);
      },
      onJoined: (each) => this.tiles.get(each)?.hurry(),
      onReconnecting: (names) => {
        for (const [each, tile] of this.tiles) tile.reconnecting = names.has(each);
        this.offerBanks();
        if (names.has(name)) this.publication?.forgotten();
      },
      onOnline: (online) => {
        if (!online) this.banner.say("feed", t.call.serverLost);
        else this.banner.unsay("feed");
        if (online && !this.online) this.hurry();
        this.online = online;
      },
      onRefused: (words) => this.banner.say("refused", words, t.call.leave, () => this.leave(words)),
      onEnded: (participant, words) => {
        if (participant === name) this.publication?.refuse(words);
      },
      onDraining: (seconds) => {
        this.banner.say("feed", t.call.draining(Math.max(1, Math.round(seconds))));
      },
    });
    this.aside = stream && new PhotosAside(room, name, (names) => this.photosAside(names));
    this.listening = setInterval(() => void this.listen(), LISTEN_MS);
    if (!stream) this.count(0);
    followOutput(this.abort.signal);
    addEventListener("online", () => this.moved(), { signal: this.abort.signal });
    addEventListener("pagehide", () => this.end(true), { signal: this.abort.signal });
  }

  /** Photos were registered or deleted during the call; deletion takes effect by itself. */
  personChanged(): void {
    const person = registeredPerson();
    if (person && person !== this.joinedAs) {
      this.banner.say("person", t.call.facesChanged, t.call.useNow, () => this.publication?.connect());
    }
  }

  private persons(): string[] {
    const own = registeredPerson();
    return [...new Set([...(own ? [own] : []), ...this.entry.persons])].slice(0, MOST_PERSONS);
  }

  /** The relay leaves frames of one's own out, which others see as a picture that stands still. */
  private leftOut(reason: string | undefined): void {
    const words = reason && t.call.leftOut[reason];
    if (words) this.banner.mention("frames", words);
    else this.banner.unsay("frames");
  }

  private photosAside(names: string[]): void {
    if (names.length === 0) return this.banner.unsay("photos");
    this.banner.mention("photos", t.call.aside(new Intl.ListFormat(language).format(names)), t.call.allRight);
  }

  /** Who speaks is shown, and large where one is. */
  private async listen(): Promise<void> {
    const levels = new Map<string, number>();
    const now = performance.now();
    await Promise.all(
      [...this.tiles].map(async ([name, tile]) => {
        const level = await tile.listen(now);
        if (name !== this.entry.name) levels.set(name, level);
      }),
    );
    const speaker = this.loudest.update(levels);
    for (const [name, tile] of this.tiles) tile.speaking = name === speaker && (levels.get(name) ?? 0) > SPEAKS;
    this.stage.hear(speaker);
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
    // whoever watches oneself is let go with one's own stream
    for (const [each, tile] of this.tiles) tile.close({ keepalive, left: each === this.entry.name });
    this.tiles.clear();
    this.bank.close();
    this.aside?.close();
    clearInterval(this.listening);
    this.stage.close();
    this.banner.clear();
    stopMedia(this.entry.stream);
  }

  private reconcileTiles(): void {
    const { name, room } = this.entry;
    const others = this.feed.roster.list().filter((each) => each !== name);
    const blind = invitation()?.watch === false;
    const wanted = blind ? [] : this.feed.roster.has(name) && (others.length === 0 || this.selfView) ? [...others, name] : others;
    for (const [each, tile] of this.tiles) {
      if (wanted.includes(each)) continue;
      tile.close({ left: !this.feed.roster.has(each) });
      this.tiles.delete(each);
    }
    const added: Tile[] = [];
    for (const each of wanted) {
      if (this.tiles.has(each)) continue;
      const tile = new Tile(room, each, each === name, {
        onSoundBlocked: () => this.askForSound(),
        onPin: (on) => this.stage.pin(on ? each : null),
      });
      tile.reconnecting = this.feed.reconnecting.has(each);
      this.tiles.set(each, tile);
      added.push(tile);
      this.stage.element.append(tile.element);
    }
    this.offerBanks();
    this.count(others.length);
    this.stage.show([...this.tiles.values()]);
    for (const tile of added) tile.begin();
  }

  /** Of those who are there; by invitation, one sees one's own only. */
  private offerBanks(): void {
    const { name } = this.entry;
    const all = invitation()?.admin ?? true;
    const there = this.feed.roster.list().filter((each) => !this.feed.reconnecting.has(each));
    this.bank.offer([...(all ? there.filter((each) => each !== name) : []), ...there.filter((each) => each === name)]);
  }

  private count(others: number): void {
    let words = others === 0 ? t.call.alone : t.call.count(others + 1);
    if (invitation()?.watch === false) words += `. ${t.call.blind}`;
    if (!this.publication) words = others === 0 ? t.call.nobody : t.call.watching(others);
    byId("call-count").textContent = words;
  }

  private onPublish(state: PublishState): void {
    if (state.kind === "live") this.banner.unsay("publish");
    if (state.kind === "lost") this.banner.say("publish", t.call.joiningAgain(state.words));
    if (state.kind === "refused") {
      // an invitation is for one name; without, another can be chosen
      if (state.nameTaken && !invitation()) return this.leave(t.call.chooseAnother(state.words));
      this.banner.say("publish", state.words, t.call.tryAgain, () => this.publication?.connect());
    }
  }

  private askForSound(): void {
    this.banner.say("sound", t.call.soundBlocked, t.call.soundOn, () => {
      for (const tile of this.tiles.values()) tile.unblockSound();
    });
  }
}
