import { el } from "./dom";
import { keyPosition, pointerPosition, strips } from "./slider";
import { t } from "./strings";

/** With a divider over both; or both whole, next to or above each other. */
export type Arrangement = "divider" | "row" | "column";

/**
 * Original and enhanced of a live `view=compare` video. Each frame is copied once, whole, into a buffer and both
 * halves are drawn from that copy, so they always show one moment; moving the divider redraws from the buffer.
 */
export class CompareView {
  readonly element: HTMLElement;
  private readonly canvas = el("canvas", { "aria-hidden": "true" });
  private readonly handle: HTMLElement;
  private readonly buffer = document.createElement("canvas");
  private video: HTMLVideoElement | null = null;
  private position = 0.5;
  private arrangement: Arrangement = "divider";

  constructor(private readonly name: string) {
    this.handle = el("div", {
      class: "divider",
      role: "slider",
      tabindex: "0",
      "aria-label": t.tile.divider(name),
      "aria-orientation": "horizontal",
      "aria-valuemin": "0",
      "aria-valuemax": "100",
    });
    this.element = el("div", { class: "compare" }, [
      this.canvas,
      el("span", { class: "side left" }, [t.tile.original]),
      el("span", { class: "side right" }, [t.tile.enhanced]),
      this.handle,
    ]);
    this.element.addEventListener("pointerdown", (event) => {
      if (this.arrangement !== "divider") return;
      this.element.setPointerCapture(event.pointerId);
      this.handle.focus({ preventScroll: true });
      this.follow(event);
    });
    this.element.addEventListener("pointermove", (event) => {
      if (this.element.hasPointerCapture(event.pointerId)) this.follow(event);
    });
    this.handle.addEventListener("keydown", (event) => {
      const position = keyPosition(this.position, event.key);
      if (position === null) return;
      event.preventDefault();
      this.move(position);
    });
    this.move(0.5);
  }

  arrange(arrangement: Arrangement): void {
    if (arrangement === this.arrangement) return;
    this.arrangement = arrangement;
    this.element.dataset.arrangement = arrangement;
    this.handle.hidden = arrangement !== "divider";
    if (this.handle.hidden) {
      // what the divider's name tells otherwise
      this.canvas.removeAttribute("aria-hidden");
      this.canvas.setAttribute("role", "img");
      this.canvas.setAttribute("aria-label", t.tile.divider(this.name));
    } else {
      this.canvas.removeAttribute("role");
      this.canvas.setAttribute("aria-hidden", "true");
    }
    this.fit();
  }

  /** Shows this video from now on; null stops. The video must stay in the page: some browsers pause hidden ones. */
  attach(video: HTMLVideoElement | null): void {
    this.video = video;
    if (video) this.next(video);
  }

  private next(video: HTMLVideoElement): void {
    if (video !== this.video) return;
    this.copy(video);
    if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(() => this.next(video));
    else requestAnimationFrame(() => this.next(video));
  }

  private copy(video: HTMLVideoElement): void {
    const { videoWidth, videoHeight } = video;
    if (!videoWidth) return;
    if (this.buffer.width !== videoWidth || this.buffer.height !== videoHeight) {
      this.buffer.width = videoWidth;
      this.buffer.height = videoHeight;
      this.fit();
    }
    this.buffer.getContext("2d", { alpha: false })?.drawImage(video, 0, 0);
    this.draw();
  }

  /** Gives the canvas the size of what is drawn. */
  private fit(): void {
    const { width, height } = this.buffer;
    this.canvas.width = this.arrangement === "row" ? 2 * Math.floor(width / 2) : Math.floor(width / 2);
    this.canvas.height = this.arrangement === "column" ? 2 * height : height;
    this.element.style.setProperty("--ratio", String(this.canvas.width / this.canvas.height));
    this.draw();
  }

  private draw(): void {
    const context = this.canvas.getContext("2d", { alpha: false });
    const { width: whole, height } = this.buffer;
    const half = Math.floor(whole / 2);
    if (this.arrangement === "row") return context?.drawImage(this.buffer, 0, 0);
    if (this.arrangement === "column") {
      context?.drawImage(this.buffer, 0, 0, half, height, 0, 0, half, height);
      return context?.drawImage(this.buffer, half, 0, half, height, 0, height, half, height);
    }
    const { original, enhanced } = strips(whole, this.position);
    for (const { source, target, width } of [original, enhanced]) {
      if (width > 0) context?.drawImage(this.buffer, source, 0, width, height, target, 0, width, height);
    }
  }

  private follow(event: PointerEvent): void {
    const { left, width } = this.element.getBoundingClientRect();
    this.move(pointerPosition(event.clientX, left, width));
  }

  private move(position: number): void {
    this.position = position;
    const percent = Math.round(position * 100);
    this.handle.style.left = `${position * 100}%`;
    this.handle.setAttribute("aria-valuenow", String(percent));
    this.handle.setAttribute("aria-valuetext", t.tile.shares(percent));
    if (this.buffer.width > 0) this.draw();
  }
}
