import { CompareView } from "../compare";
import { el } from "../dom";
import { t } from "../strings";
import { Loupe } from "./loupe";
import pairUrl from "./pair.webm";
import posterUrl from "./poster.jpg";

/** Seconds of the video at which the face is far away: what those see who want nothing to move. */
const STILL = 7;

const FIGURES = [
  ["0.57 → 0.72", t.show.likeness],
  ["+2.0 dB", t.show.nearer],
  ["50 ms", t.show.cost],
] as const;

/** What the relay does, to be seen without a camera: a pair of videos made beforehand, with a slider and a loupe. */
export class Show {
  private readonly compare = new CompareView(t.show.who);
  private readonly loupe = new Loupe();
  private readonly video = el("video", { class: "behind", muted: "", loop: "", playsinline: "", preload: "auto" });
  private readonly toggle = el("button", { type: "button", class: "link" });
  private readonly still = matchMedia("(prefers-reduced-motion: reduce)");
  /** Whether it is to play whenever it is seen. */
  private playing = !this.still.matches;
  private seen = false;
  private readonly abort = new AbortController();
  private readonly observer: IntersectionObserver;

  constructor(private readonly host: HTMLElement) {
    const poster = el("img", { src: posterUrl, width: "960", height: "540", alt: "" });
    this.video.muted = true;
    this.video.setAttribute("aria-hidden", "true");
    this.video.src = pairUrl;
    this.compare.element.hidden = true;
    const picture = el("div", { class: "picture" }, [poster, this.video, this.compare.element]);
    host.append(
      picture,
      el("div", { class: "told" }, [
        el("h2", {}, [t.show.title]),
        this.loupe.element,
        el("p", {}, [this.toggle]),
      ]),
      this.figures(),
    );
    this.video.addEventListener("loadeddata", () => this.begin(), { once: true, signal: this.abort.signal });
    this.toggle.addEventListener("click", () => this.play(!this.playing));
    this.still.addEventListener("change", () => this.play(!this.still.matches), { signal: this.abort.signal });
    picture.addEventListener("pointermove", (event) => this.loupe.point(event, picture));
    picture.addEventListener("pointerleave", () => this.loupe.follow());
    this.observer = new IntersectionObserver(([entry]) => {
      this.seen = entry?.isIntersecting ?? false;
      this.apply();
    });
    this.observer.observe(picture);
    this.tell();
  }

  /** A call has the page, and the processor, for itself. */
  close(): void {
    this.abort.abort();
    this.observer.disconnect();
    this.compare.attach(null);
    this.loupe.detach();
    this.video.removeAttribute("src");
    this.video.load();
    this.host.replaceChildren();
  }

  private begin(): void {
    if (this.playing) return this.attach();
    this.video.addEventListener("seeked", () => this.attach(), { once: true, signal: this.abort.signal });
    this.video.currentTime = STILL;
  }

  private attach(): void {
    this.compare.element.hidden = false;
    this.compare.attach(this.video);
    this.loupe.attach(this.video);
  }

  /** On a phone they are one touch away, so that the way to the call is short. */
  private figures(): HTMLElement {
    const details = el("details", {}, [
      el("summary", {}, [t.show.measured]),
      el("dl", {}, FIGURES.flatMap(([figure, words]) => [el("dt", {}, [figure]), el("dd", {}, [words])])),
      el("p", { class: "note" }, [t.show.source]),
    ]);
    details.open = !matchMedia("(max-width: 820px)").matches;
    return details;
  }

  private play(on: boolean): void {
    this.playing = on;
    this.tell();
    this.apply();
  }

  /** Out of sight it costs nothing. */
  private apply(): void {
    if (this.playing && this.seen) {
      void this.video.play().catch((error: unknown) => {
        // other errors are of a pause that came first
        if (error instanceof DOMException && error.name === "NotAllowedError") this.play(false);
      });
    }
    else this.video.pause();
  }

  private tell(): void {
    this.toggle.textContent = this.playing ? t.show.pause : t.show.play;
  }
}
