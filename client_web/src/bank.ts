import { el } from "./dom";
import { getJson } from "./http";
import {
  ageInWords,
  exemplarsInWords,
  fateInWords,
  namesOf,
  presenceInWords,
  type Bank,
  type BankExemplar,
  type BankFace,
  type BankPerson,
} from "./known";
import { t } from "./strings";

const POLL_MS = 2000;
/** Of each person, where there are several: the newest ones. */
const SHOWN_EACH = 4;

export function fetchBank(room: string, name: string): Promise<Bank> {
  return getJson<Bank>(`/api/rooms/${room}/${name}/bank`);
}

/** Who is known in one participant's picture at this moment, and the exemplars that their faces are enhanced with. */
export class BankStrip {
  readonly element = el("section", { class: "bank", "aria-label": t.bank.label });
  private readonly list = el("ul", { class: "known", tabindex: "0", "aria-label": t.bank.title });
  private readonly note = el("p", { class: "note" });
  private readonly chooser = el("select", { "aria-label": t.bank.whose });
  private readonly timer: ReturnType<typeof setInterval>;
  private shown = new Map<number, Known>();

  constructor(
    private readonly room: string,
    private readonly me: string,
  ) {
    this.element.append(el("div", { class: "head" }, [el("h2", {}, [t.bank.title]), this.chooser, this.note]), this.list);
    this.chooser.hidden = true;
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
      ...names.map((name) => el("option", { value: name }, [name === this.me ? t.bank.you(name) : name])),
    );
    if (names.includes(chosen)) this.chooser.value = chosen;
    this.chooser.hidden = names.length < 2;
    void this.poll();
  }

  private async poll(): Promise<void> {
    const name = this.chooser.value;
    if (document.hidden) return;
    let bank: Bank = { participant: name, exemplars: [], people: [], faces: [] };
    try {
      if (name) bank = await fetchBank(this.room, name);
    } catch {
      // just left, or the server restarts: the feed tells of both
    }
    if (name !== this.chooser.value) return;
    this.note.textContent =
      bank.exemplars.length > 0 ? t.bank.count(bank.exemplars.length) : t.bank.none;
    this.show(bank);
  }

  private show(bank: Bank): void {
    const names = namesOf(bank.people);
    // who is only passing through, and has nothing to show, would make the strip flicker
    const people = bank.people.filter(({ state, exemplars }) => state !== "away" || exemplars > 0);
    const order = { here: 0, away: 1, unmatched: 2 };
    people.sort((a, b) => order[a.state] - order[b.state]);
    this.shown = new Map(people.map(({ id }) => [id, this.shown.get(id) ?? new Known()]));
    for (const person of people) {
      const face = bank.faces.find((each) => each.person === person.id);
      const exemplars = bank.exemplars.filter((each) => each.person === person.id);
      const most = people.length > 1 ? SHOWN_EACH : exemplars.length;
      this.shown.get(person.id)!.show(names.get(person.id)!, person, face, exemplars, most);
    }
    const elements = [...this.shown.values()].map(({ element }) => element);
    if (elements.some((element, at) => element !== this.list.children[at]) || elements.length !== this.list.children.length) {
      this.list.replaceChildren(...elements);
    }
  }
}

/** One person: who it is, and the exemplars. */
class Known {
  readonly element = el("li", { class: "person" });
  private readonly name = el("strong");
  private readonly presence = el("span", { class: "presence" });
  private readonly fate = el("span", { class: "fate" });
  private readonly list = el("ul");
  private shown = "";

  constructor() {
    this.element.append(el("div", { class: "who" }, [this.name, this.presence, this.fate]), this.list);
  }

  show(name: string, person: BankPerson, face: BankFace | undefined, all: readonly BankExemplar[], most: number): void {
    const fate = face ? fateInWords(face) : "";
    const not = face !== undefined && face.reason !== null;
    const exemplars = most > 0 ? all.slice(-most) : [];
    const more = all.length - exemplars.length;
    this.element.dataset.state = person.state;
    this.name.textContent = name;
    this.presence.textContent = `${presenceInWords(person)} · ${exemplarsInWords(person)}`;
    this.fate.textContent = fate;
    this.fate.classList.toggle("not", not);
    const ids = [more, ...exemplars.map(({ id }) => id)].join();
    if (ids !== this.shown) {
      this.shown = ids;
      this.list.replaceChildren(
        ...exemplars.map((exemplar) =>
          el("li", {}, [
            el("img", { src: exemplar.thumbnail, alt: "", width: "48", height: "48" }),
            el("span", { class: "source" }, [exemplar.source === "photo" ? t.bank.photo : t.bank.call]),
            el("span", { class: "age" }),
          ]),
        ),
        ...(more > 0 ? [el("li", { class: "more" }, [`+${more}`])] : []),
      );
    }
    exemplars.forEach((exemplar, index) => {
      const item = this.list.children[index] as HTMLElement;
      item.querySelector(".age")!.textContent = ageInWords(exemplar.age_seconds);
      item.title = t.bank.figures(exemplar.native_px, Math.round(exemplar.yaw), exemplar.sharpness.toFixed(2));
    });
  }
}
