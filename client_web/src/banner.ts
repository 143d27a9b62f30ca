import { byId } from "./dom";

/** What the banner tells of; each takes back its own words alone. */
export type Matter = "publish" | "sound" | "person" | "photos" | "feed" | "frames" | "share" | "refused";

/** One line above the call, with a button where something can be done about it. */
export class Banner {
  matter: Matter | null = null;
  private readonly element = byId("banner");

  say(matter: Matter, words: string, action?: string, act?: () => void): void {
    if (this.matter === "refused") return; // nothing else matters any more
    const [text, button] = [...this.element.children] as [HTMLElement, HTMLButtonElement];
    this.matter = matter;
    text.textContent = words;
    button.textContent = action ?? "";
    button.hidden = !action;
    button.onclick = () => {
      this.unsay(matter);
      act?.();
    };
    this.element.hidden = false;
  }

  /** Only where nothing else is told. */
  mention(matter: Matter, words: string, action?: string): void {
    if (this.matter === null) this.say(matter, words, action);
  }

  unsay(matter: Matter | null = this.matter): void {
    if (this.matter !== matter) return;
    this.matter = null;
    this.element.hidden = true;
  }
}
