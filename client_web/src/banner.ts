import { byId } from "./dom";

/** What the banner tells of; each takes back its own words alone. */
export type Matter = "publish" | "sound" | "person" | "photos" | "feed" | "frames" | "share" | "refused";

interface Told {
  words: string;
  action: string | undefined;
  act: (() => void) | undefined;
}

/** One line above the call, with a button where something can be done about it: the newest that still holds. */
export class Banner {
  private readonly told = new Map<Matter, Told>();
  private readonly element = byId("banner");

  say(matter: Matter, words: string, action?: string, act?: () => void): void {
    this.told.delete(matter);
    this.told.set(matter, { words, action, act });
    this.show();
  }

  /** Only where nothing else is told. */
  mention(matter: Matter, words: string, action?: string): void {
    if (this.told.size === 0) this.say(matter, words, action);
  }

  unsay(matter: Matter): void {
    if (this.told.delete(matter)) this.show();
  }

  clear(): void {
    this.told.clear();
    this.show();
  }

  private show(): void {
    const newest = this.told.has("refused") ? "refused" : [...this.told.keys()].at(-1); // that ends the call
    const told = newest && this.told.get(newest);
    this.element.hidden = !told;
    if (!newest || !told) return;
    const [text, button] = [...this.element.children] as [HTMLElement, HTMLButtonElement];
    text.textContent = told.words;
    button.textContent = told.action ?? "";
    button.hidden = !told.action;
    button.onclick = () => {
      this.unsay(newest);
      told.act?.();
    };
  }
}
