import { clamp } from "../slider";
import { el } from "../dom";
import { t } from "../strings";
import { faceAt, type Spot } from "./face";

const PIXELS = 320;
/** Of the picture's width: what is looked at under the pointer. */
const POINTED = 0.16;

/** One spot of a video that has the original on its left and the enhanced picture on its right, magnified from both. */
export class Loupe {
  private readonly original = canvas();
  private readonly enhanced = canvas();
  readonly element = el("div", { class: "loupe" }, [
    el("figure", {}, [this.original, el("figcaption", {}, [t.show.arrives])]),
    el("figure", {}, [this.enhanced, el("figcaption", {}, [t.show.enhanced])]),
  ]);
  private video: HTMLVideoElement | null = null;
  /** null: the face. */
  private pointed: Spot | null = null;

  attach(video: HTMLVideoElement): void {
    this.video = video;
    this.next(video);
  }

  detach(): void {
    this.video = null;
  }

  /** Looks at where the pointer is over the picture. */
  point(event: PointerEvent, picture: HTMLElement): void {
    const { left, top, width } = picture.getBoundingClientRect();
    this.pointed = { x: (event.clientX - left) / width, y: (event.clientY - top) / width, side: POINTED };
    this.draw();
  }

  /** Looks at the face, wherever it goes. */
  follow(): void {
    this.pointed = null;
    this.draw();
  }

  private next(video: HTMLVideoElement): void {
    if (video !== this.video) return;
    this.draw();
    if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(() => this.next(video));
    else requestAnimationFrame(() => this.next(video));
  }

  private draw(): void {
    const video = this.video;
    if (!video?.videoWidth) return;
    const width = video.videoWidth / 2;
    const spot = this.pointed ?? faceAt(video.currentTime);
    const side = Math.min(spot.side * width, video.videoHeight);
    const x = clamp(spot.x * width - side / 2, 0, width - side);
    const y = clamp(spot.y * width - side / 2, 0, video.videoHeight - side);
    this.original.getContext("2d", { alpha: false })?.drawImage(video, x, y, side, side, 0, 0, PIXELS, PIXELS);
    this.enhanced.getContext("2d", { alpha: false })?.drawImage(video, width + x, y, side, side, 0, 0, PIXELS, PIXELS);
  }
}

function canvas(): HTMLCanvasElement {
  return el("canvas", { width: String(PIXELS), height: String(PIXELS), "aria-hidden": "true" });
}
