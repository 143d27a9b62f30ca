import { CompareView } from "./compare";
import { el, segmented } from "./dom";
import { icon } from "./icons";
import { pictureState, type ParticipantStats, type PictureState } from "./room";
import { Watch } from "./watch";
import type { Layout, View } from "./whep";

const VIEW_OPTIONS: { value: View; text: string; hint: string }[] = [
  { value: "enhanced", text: "Enhanced", hint: "Faces with their details given back" },
  { value: "original", text: "Original", hint: "The same picture, plainly enlarged" },
  { value: "compare", text: "Compare", hint: "Both, with a divider to drag" },
];
const LAYOUT_OPTIONS: { value: Layout; text: string; hint: string }[] = [
  { value: "upscale", text: "Large", hint: "The whole picture, enlarged" },
  { value: "zoom", text: "Zoom", hint: "Follows the largest face" },
  { value: "native", text: "Native", hint: "As large as it was sent" },
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
  private video: HTMLVideoElement | null = null;
  private stats: ParticipantStats | undefined;
  private muted: boolean;

  constructor(
    room: string,
    readonly name: string,
    private readonly self: boolean,
    private readonly handlers: TileHandlers,
  ) {
    this.muted = self;
    let view: View = self ? "compare" : "enhanced";
    let layout: Layout = "upscale";
    this.compare = new CompareView(self ? "yourself" : name);
    this.compare.element.hidden = true;
    this.trouble.textContent = "Connecting…";
    this.stage.append(this.compare.element, this.trouble);

    const tools = el("div", { class: "tools" }, [
      segmented("View", VIEW_OPTIONS, view, (value) => this.watch.show((view = value), layout)),
      segmented("Layout", LAYOUT_OPTIONS, layout, (value) => this.watch.show(view, (layout = value))),
      el("span", { class: "spacer" }),
    ]);
    if (!self) tools.append(this.soundButton());
    tools.append(this.fullScreenButton());
    this.element = el("article", { class: "tile", "data-name": name, "aria-label": self ? "You" : name }, [
      this.stage,
      el("header", {}, [el("h2", {}, [self ? "You, as others see you" : name]), this.badge, this.figures]),
      tools,
    ]);
    this.watch = new Watch(room, name, !self, view, layout, {
      onVideo: (video, shown) => this.onVideo(video, shown),
      onTrouble: (words) => this.onTrouble(words),
    });
  }

  close(keepalive = false): void {
    this.watch.stop(keepalive);
    this.compare.attach(null);
    this.element.remove();
  }

  /** After a click anywhere, sound may play. */
  unblockSound(): void {
    if (this.video) this.play(this.video);
  }

  async update(stats: ParticipantStats | undefined): Promise<void> {
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

  private onVideo(video: HTMLVideoElement, view: View): void {
    const before = this.video;
    this.video = video;
    video.setAttribute("aria-label", this.self ? "You" : this.name);
    this.stage.prepend(video);
    this.compare.element.hidden = view !== "compare";
    video.classList.toggle("behind", view === "compare");
    this.element.dataset.view = view;
    this.compare.attach(view === "compare" ? video : null);
    this.play(video);
    if (before) {
      before.srcObject = null;
      before.remove();
    }
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
