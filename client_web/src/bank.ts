import { el } from "./dom";
import { getJson } from "./http";

export interface BankExemplar {
  id: string;
  source: "call" | "photo";
  age_frames: number;
  age_seconds: number;
  sharpness: number;
  yaw: number;
  native_px: number;
  thumbnail: string;
}

const POLL_MS = 2000;

export function ageInWords(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** The strip of exemplars that one participant's faces are enhanced with at this moment. */
export class BankStrip {
  readonly element = el("section", { class: "bank", "aria-label": "Exemplar bank" });
  private readonly list = el("ul");
  private readonly note = el("p", { class: "note" });
  private readonly chooser = el("select", { "aria-label": "Whose exemplars" });
  private readonly timer: ReturnType<typeof setInterval>;
  private shown: string[] = [];

  constructor(
    private readonly room: string,
    private readonly me: string,
  ) {
    this.element.append(el("div", { class: "head" }, [el("h2", {}, ["Exemplars"]), this.chooser, this.note]), this.list);
    this.chooser.addEventListener("change", () => void this.poll());
    this.timer = setInterval(() => void this.poll(), POLL_MS);
  }

  close(): void {
    clearInterval(this.timer);
  }

  /** Whose banks can be seen, the ones on the stage first. */
  offer(names: string[]): void {
    const chosen = this.chooser.value;
    this.chooser.replaceChildren(
      ...names.map((name) => el("option", { value: name }, [name === this.me ? `${name} (you)` : name])),
    );
    if (names.includes(chosen)) this.chooser.value = chosen;
    this.chooser.hidden = names.length < 2;
    void this.poll();
  }

  private async poll(): Promise<void> {
    const name = this.chooser.value;
    if (document.hidden) return;
    let exemplars: BankExemplar[] = [];
    try {
      if (name) exemplars = (await getJson<{ exemplars: BankExemplar[] }>(`/api/rooms/${this.room}/${name}/bank`)).exemplars;
    } catch {
      // just left, or the server restarts: the feed tells of both
    }
    if (name !== this.chooser.value) return;
    this.note.textContent =
      exemplars.length > 0
        ? `${exemplars.length} sharp ${exemplars.length === 1 ? "view" : "views"} of this face in use`
        : "None yet: they come from a close, sharp face or from photos.";
    this.show(exemplars);
  }

  private show(exemplars: BankExemplar[]): void {
    const ids = exemplars.map((exemplar) => exemplar.id);
    if (ids.join() !== this.shown.join()) {
      this.shown = ids;
      this.list.replaceChildren(
        ...exemplars.map((exemplar) =>
          el("li", {}, [
            el("img", { src: exemplar.thumbnail, alt: "", width: "56", height: "56" }),
            el("span", { class: "source" }, [exemplar.source === "photo" ? "Photo" : "Call"]),
            el("span", { class: "age" }),
          ]),
        ),
      );
    }
    exemplars.forEach((exemplar, index) => {
      const item = this.list.children[index] as HTMLElement;
      item.querySelector(".age")!.textContent = ageInWords(exemplar.age_seconds);
      item.title = `${exemplar.native_px} px, turned ${Math.round(exemplar.yaw)}°, sharpness ${exemplar.sharpness.toFixed(2)}`;
    });
  }
}
