import { badgeOf, SteadyBadge } from "./badge";
import { isBlack } from "./black";
import { CHOICES, isStacked, shownLength, viewOf, type Choice } from "./choices";
import { CompareView } from "./compare";
import { el, segmented } from "./dom";
import { icon } from "./icons";
import { entry, explainedChoice, moreMenu, rename } from "./menu";
import { toOutput } from "./output";
import { pictureState, type ParticipantStats } from "./room";
import { linkedView } from "./show/watching";
import { Silence } from "./speaker";
import { t } from "./strings";
import { Watch } from "./watch";
import { LAYOUTS, type Layout, type Received, type View } from "./whep";
import { WidthFollower, askedWidth, type Width } from "./width";

export interface TileHandlers {
  /** The browser wants a click before it plays sound. */
  onSoundBlocked: () => void;
  /** This one is to be kept large, or no longer. */
  onPin: (on: boolean) => void;
}

/** One participant on the stage: picture, what happens to it, the choice of the view, and more. */
export class Tile {
  readonly element: HTMLElement;
  private readonly stage = el("div", { class: "stage" });
  private readonly compare: CompareView;
  private readonly trouble = el("p", { class: "trouble", role: "status" });
  private readonly cover = el("p", { class: "cover", "aria-hidden": "true" });
  private readonly badge = el("span", { class: "badge", "data-tone": "plain" }, [el("span", {}, [t.badge.connecting])]);
  private readonly steady = new SteadyBadge();
  private readonly silent: HTMLElement;
  private readonly silence = new Silence();
  private readonly figures = el("p", { class: "figures" });
  private readonly views: HTMLElement;
  private readonly pin: HTMLButtonElement;
  private readonly watch: Watch;
  private readonly resize = new ResizeObserver(() => {
    this.arrange();
    this.width.measured(this.shownPixels());
  });
  private readonly width = new WidthFollower((width) => this.show({ width }));
  private choice: Choice;
  private shown: { layout: Layout; width: Width | null } = { layout: "upscale", width: null };
  private video: HTMLVideoElement | null = null;
  private stats: ParticipantStats | undefined;
  private received: Received | null = null;
  private muted: boolean;
  private kept = false;
  private words: string | null = t.tile.connecting;
  private away = false;

  constructor(
    room: string,
    readonly name: string,
    private readonly self: boolean,
    private readonly handlers: TileHandlers,
  ) {
    this.muted = self;
    this.choice = self ? "compare" : linkedView(location.search);
    this.compare = new CompareView(self ? t.tile.yourself : name);
    this.compare.element.hidden = true;
    this.cover.textContent = name.charAt(0).toUpperCase();
    this.cover.hidden = true;
    this.silent = el("span", { class: "silent", role: "img", "aria-label": t.tile.silent(name), title: t.tile.silent(name) }, [
      icon("micOff"),
    ]);
    this.silent.hidden = true;
    this.pin = entry("pin", t.tile.pin, () => this.handlers.onPin(!this.kept));
    this.tell();
    this.stage.append(this.compare.element, this.cover, this.trouble);

    const options = CHOICES.map((value) => ({ value, text: t.tile.views[value], hint: t.tile.viewHints[value] }));
    this.views = segmented(t.tile.view, options, this.choice, (choice) => this.choose(choice));
    this.element = el("article", { class: "tile", "data-name": name, "data-choice": this.choice, "aria-label": self ? t.you : name }, [
      this.stage,
      el("header", {}, [el("h2", { title: self ? "" : name }, [self ? t.tile.youAsSeen : name]), this.silent, this.badge]),
      el("div", { class: "tools" }, [this.views, el("span", { class: "spacer" }), this.more()]),
    ]);
    this.watch = new Watch(room, name, !self, {
      onVideo: (video, shown) => this.onVideo(video, shown),
      onTrouble: (words) => this.onTrouble(words),
    });
  }

  /** Begins to watch, once the tile has its size in the page: what it shows is what it asks for. */
  begin(): void {
    this.width.measured(Math.max(1, this.shownPixels()));
    this.resize.observe(this.stage);
  }

  /** `left`: who is shown is there no longer. */
  close({ keepalive = false, left = false } = {}): void {
    this.resize.disconnect();
    this.width.stop();
    if (left) this.watch.abandon();
    else this.watch.stop(keepalive);
    this.compare.attach(null);
    this.element.remove();
  }

  /** Whether the network of who is shown is lost: the last picture stays until the next one comes. */
  set reconnecting(away: boolean) {
    this.away = away;
    this.watch.away = away;
    this.tell();
  }

  set speaking(on: boolean) {
    this.element.classList.toggle("speaking", on);
  }

  set pinned(on: boolean) {
    this.kept = on;
    rename(this.pin, on ? t.tile.unpin : t.tile.pin);
  }

  /** As `Watch.hurry`. */
  hurry(): void {
    this.watch.hurry();
  }

  /** As `Watch.moved`. */
  moved(): void {
    this.watch.moved();
  }

  /** After a click anywhere, sound may play. */
  unblockSound(): void {
    if (this.video) this.play(this.video);
  }

  nextView(): void {
    const buttons = [...this.views.children] as HTMLElement[];
    const at = buttons.findIndex((button) => button.getAttribute("aria-checked") === "true");
    buttons[(at + 1) % buttons.length]!.click();
  }

  fullScreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (document.fullscreenEnabled) void this.stage.requestFullscreen();
  }

  /** How loud the participant is, and whether the microphone is off. */
  async listen(now: number): Promise<number> {
    this.received = await this.watch.received();
    const level = this.received?.level ?? null;
    this.silent.hidden = this.self || this.received === null || !this.silence.update(level, now);
    return level ?? 0;
  }

  update(stats: ParticipantStats | undefined): void {
    this.width.measured(this.shownPixels()); // a window that moves to another screen tells nobody
    const state = pictureState(this.stats, stats);
    this.stats = stats;
    const screen = stats?.content === "screen";
    const black = !screen && this.video !== null && isBlack(this.video);
    this.cover.hidden = !black;
    this.views.hidden = screen;
    const { tone, words } = this.steady.update(
      badgeOf(state, stats, { name: this.self ? null : this.name, view: viewOf(this.choice), black }),
    );
    this.badge.dataset.tone = tone;
    this.badge.firstElementChild!.textContent = words;
    this.badge.title = words;
    const parts: string[] = [];
    if (this.received?.fps != null) parts.push(t.tile.figures(Math.round(this.received.fps)));
    if (stats && stats.latency_ms !== null) parts.push(t.tile.latency(Math.round(stats.latency_ms)));
    this.figures.textContent = parts.join(" · ");
  }

  private choose(choice: Choice): void {
    this.choice = choice;
    this.element.dataset.choice = choice;
    this.arrange();
    this.width.again(this.shownPixels());
  }

  private show(change: Partial<typeof this.shown>): void {
    Object.assign(this.shown, change);
    const { layout, width } = this.shown;
    const view = viewOf(this.choice);
    if (width !== null) this.watch.show({ view, layout, width: askedWidth(view, layout, width) });
  }

  private shownPixels(): number {
    return shownLength(this.choice, this.stage.clientWidth, this.stage.clientHeight) * devicePixelRatio;
  }

  /** As both are shown until another view has come, nothing is arranged for one of them. */
  private arrange(): void {
    if (this.choice === "compare") this.compare.arrange("divider");
    if (this.choice !== "sides") return;
    this.compare.arrange(isStacked(this.stage.clientWidth, this.stage.clientHeight) ? "column" : "row");
  }

  private onVideo(video: HTMLVideoElement, view: View): void {
    const before = this.video;
    for (const older of this.stage.querySelectorAll("video")) if (older !== before) drop(older);
    this.video = video;
    video.setAttribute("aria-label", this.self ? t.you : this.name);
    this.stage.prepend(video);
    this.compare.element.hidden = view !== "compare";
    video.classList.toggle("behind", view === "compare");
    this.element.dataset.view = view;
    this.compare.attach(view === "compare" ? video : null);
    this.play(video);
    if (!before) return;
    // The old picture lies over the new one until that is on the screen: nothing flashes.
    if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(() => drop(before));
    else drop(before);
  }

  private play(video: HTMLVideoElement): void {
    video.muted = this.muted;
    void toOutput(video);
    video.play().catch((error: unknown) => {
      if (!(error instanceof DOMException) || error.name !== "NotAllowedError" || video.muted) return;
      video.muted = true;
      void video.play().catch(() => undefined);
      this.handlers.onSoundBlocked();
    });
  }

  private onTrouble(words: string | null): void {
    this.words = words;
    this.tell();
  }

  private tell(): void {
    const words = this.away ? t.tile.reconnecting : this.words;
    this.trouble.textContent = words ?? "";
    this.trouble.hidden = words === null;
  }

  /** What is needed less often than the view. */
  private more(): HTMLElement {
    const options = LAYOUTS.map((value) => ({ value, text: t.tile.layouts[value], hint: t.tile.layoutHints[value] }));
    const label = t.tile.more(this.self ? t.you : this.name);
    const button = el("button", { type: "button", class: "plain", "aria-label": label, title: label }, [icon("dots")]);
    const entries: HTMLElement[] = [explainedChoice(t.tile.layout, options, this.shown.layout, (layout) => this.show({ layout }))];
    if (!this.self) {
      const sound = entry("sound", t.tile.mute(this.name), () => {
        this.muted = !this.muted;
        if (this.video) this.play(this.video);
        rename(sound, this.muted ? t.tile.hear(this.name) : t.tile.mute(this.name));
        sound.firstElementChild!.replaceWith(icon(this.muted ? "soundOff" : "sound"));
      });
      entries.push(sound, this.pin);
    }
    if (document.fullscreenEnabled) entries.push(entry("full", t.tile.full, () => this.fullScreen()));
    if (document.pictureInPictureEnabled) {
      entries.push(entry("inPicture", t.tile.inPicture, () => void this.video?.requestPictureInPicture().catch(() => undefined)));
    }
    return moreMenu(button, label, [...entries, this.figures]);
  }
}

function drop(video: HTMLVideoElement): void {
  video.srcObject = null;
  video.remove();
}
