import { CompareView } from "./compare";
import { el, segmented } from "./dom";
import { icon } from "./icons";
import { explainedChoice } from "./menu";
import { pictureState, type ParticipantStats, type PictureState } from "./room";
import { linkedView } from "./show/watching";
import { Watch } from "./watch";
import type { Layout, View } from "./whep";
import { WidthFollower, askedWidth, type Width } from "./width";

const VIEW_OPTIONS: { value: View; text: string; hint: string }[] = [
  { value: "enhanced", text: "Enhanced", hint: "Faces with their details given back" },
  { value: "original", text: "Original", hint: "The same picture, plainly enlarged" },
  { value: "compare", text: "Compare", hint: "Both, with a divider to drag" },
];
const LAYOUT_OPTIONS = [
  {
    value: "upscale" as Layout,
    text: "Whole picture, enlarged",
    short: "Whole",
    hint: "Everything the camera sees, made as large as you show it.",
  },
  {
    value: "zoom" as Layout,
    text: "Follow the face",
    short: "Face",
    hint: "Goes up to four times nearer to the largest face and moves with it: for somebody far from the camera.",
  },
  {
    value: "native" as Layout,
    text: "As it was sent",
    short: "As sent",
    hint: "The camera's own size, not enlarged here: the least to receive.",
  },
];
const STATES: Record<PictureState, { text: string; hint: string }> = {
  enhanced: { text: "Enhanced", hint: "Every small face is freshly enhanced" },
  carried: { text: "Carried", hint: "The last details are carried along until the next enhanced frame" },
  passed: { text: "Passed", hint: "The picture passes as it came: no face needs help, or help would come too late" },
  waiting: { text: "Waiting", hint: "No frames arrive from the camera" },
};

export interface TileHandlers {
  /** The browser wants a click before it plays sound. */
  onSoundBlocked: () => void;
}

/** One participant on the stage: picture, state and the choices of view, layout and sound. */
export class Tile {
  readonly element: HTMLElement;
  private readonly stage = el("div", { class: "stage" });
  private readonly compare: CompareView;
  private readonly trouble = el("p", { class: "trouble", role: "status" });
  private readonly badge = el("span", { class: "badge", "data-state": "waiting" }, ["Connecting"]);
  private readonly figures = el("span", { class: "figures" });
  private readonly watch: Watch;
  private readonly resize = new ResizeObserver(() => this.width.measured(this.shownPixels()));
  private readonly width = new WidthFollower((width) => this.show({ width }));
  private shown: { view: View; layout: Layout; width: Width | null };
  private video: HTMLVideoElement | null = null;
  private stats: ParticipantStats | undefined;
  private muted: boolean;
  private words: string | null = "Connecting…";
  private away = false;

  constructor(
    room: string,
    readonly name: string,
    private readonly self: boolean,
    private readonly handlers: TileHandlers,
  ) {
    this.muted = self;
    this.shown = { view: self ? "compare" : linkedView(location.search), layout: "upscale", width: null };
    this.compare = new CompareView(self ? "yourself" : name);
    this.compare.element.hidden = true;
    this.tell();
    this.stage.append(this.compare.element, this.trouble);

    const tools = el("div", { class: "tools" }, [
      segmented("View", VIEW_OPTIONS, this.shown.view, (view) => this.show({ view })),
      explainedChoice("What is shown", LAYOUT_OPTIONS, this.shown.layout, (layout) => this.show({ layout })),
      el("span", { class: "spacer" }),
    ]);
    if (!self) tools.append(this.soundButton());
    tools.append(this.fullScreenButton());
    this.element = el("article", { class: "tile", "data-name": name, "aria-label": self ? "You" : name }, [
      this.stage,
      el("header", {}, [el("h2", {}, [self ? "You, as others see you" : name]), this.badge, this.figures]),
      tools,
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

  close(keepalive = false): void {
    this.resize.disconnect();
    this.width.stop();
    this.watch.stop(keepalive);
    this.compare.attach(null);
    this.element.remove();
  }

  /** Whether the network of who is shown is lost: the last picture stays until the next one comes. */
  set reconnecting(away: boolean) {
    this.away = away;
    this.tell();
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

  async update(stats: ParticipantStats | undefined): Promise<void> {
    this.width.measured(this.shownPixels()); // a window that moves to another screen tells nobody
    const state = pictureState(this.stats, stats);
    this.stats = stats;
    this.badge.dataset.state = state;
    this.badge.textContent = STATES[state].text;
    this.badge.title = STATES[state].hint;
    const fps = await this.watch.fps();
    const parts: string[] = [];
    if (fps !== null) parts.push(`${Math.round(fps)} fps`);
    if (stats && stats.latency_ms !== null) parts.push(`${Math.round(stats.latency_ms)} ms`);
    this.figures.textContent = parts.join(" · ");
    this.figures.title = "Frames per second shown here; milliseconds that the relay adds";
  }

  private show(change: Partial<typeof this.shown>): void {
    Object.assign(this.shown, change);
    const { view, layout, width } = this.shown;
    if (width !== null) this.watch.show({ view, layout, width: askedWidth(view, layout, width) });
  }

  private shownPixels(): number {
    return Math.max(this.stage.clientWidth, this.stage.clientHeight) * devicePixelRatio;
  }

  private onVideo(video: HTMLVideoElement, view: View): void {
    const before = this.video;
    for (const older of this.stage.querySelectorAll("video")) if (older !== before) drop(older);
    this.video = video;
    video.setAttribute("aria-label", this.self ? "You" : this.name);
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
    const words = this.away ? "Reconnecting…" : this.words;
    this.trouble.textContent = words ?? "";
    this.trouble.hidden = words === null;
  }

  private soundButton(): HTMLButtonElement {
    const button = el("button", { type: "button", class: "plain" });
    const show = (): void => {
      button.replaceChildren(icon(this.muted ? "soundOff" : "sound"));
      button.setAttribute("aria-label", this.muted ? `Hear ${this.name}` : `Mute ${this.name} for yourself`);
      button.title = button.getAttribute("aria-label")!;
    };
    button.addEventListener("click", () => {
      this.muted = !this.muted;
      if (this.video) this.play(this.video);
      show();
    });
    show();
    return button;
  }

  private fullScreenButton(): HTMLButtonElement {
    const button = el("button", { type: "button", class: "plain", "aria-label": "Full screen", title: "Full screen" }, [
      icon("full"),
    ]);
    button.hidden = !document.fullscreenEnabled;
    button.addEventListener("click", () => {
      if (document.fullscreenElement) void document.exitFullscreen();
      else void this.stage.requestFullscreen();
    });
    return button;
  }
}

function drop(video: HTMLVideoElement): void {
  video.srcObject = null;
  video.remove();
}
