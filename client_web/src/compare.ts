import { el } from "./dom";
import { keyPosition, pointerPosition, strips } from "./slider";
import { t } from "./strings";

/**
 * Before/after slider over a live `view=compare` video. Each frame is copied once, whole, into a buffer and both
 * halves are drawn from that copy, so they always show one moment; moving the divider redraws from the buffer.
 */
export class CompareView {
  readonly element: HTMLElement;
  private readonly canvas = el("canvas", { "aria-hidden": "true" });
  private readonly handle: HTMLElement;
  private readonly buffer = document.createElement("canvas");
  private video: HTMLVideoElement | null = null;
  private position = 0.5;

  constructor(name: string) {
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
      this.canvas.width = Math.floor(videoWidth / 2);
      this.canvas.height = videoHeight;
      this.element.style.setProperty("--ratio", String(this.canvas.width / this.canvas.height));
    }
    this.buffer.getContext("2d", { alpha: false })?.drawImage(video, 0, 0);
    this.draw();
  }

  private draw(): void {
    const context = this.canvas.getContext("2d", { alpha: false });
    const { height } = this.buffer;
    const { original, enhanced } = strips(this.buffer.width, this.position);
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
