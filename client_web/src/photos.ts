import { invitation } from "./access";
import { fetchBank } from "./bank";
import { el } from "./dom";
import { inWords } from "./http";
import { icon } from "./icons";
import { nameProblem } from "./names";
import { deletePerson, deletePhoto, fetchPhoto, listPhotos, registerPhotos, type Photo } from "./people";
import { Pictures } from "./pictures";
import { snapshot } from "./snapshot";
import { language, t } from "./strings";

const STORED = "hime.person";
const MOST = 10;

/** Under which name this browser's user registered photos; null when none were, or not under the invited name. */
export function registeredPerson(): string | null {
  const stored = localStorage.getItem(STORED);
  const invited = invitation();
  return invited && (invited.guest || invited.name !== stored) ? null : stored;
}

/** Whether the user may register photos at all. */
export function mayHavePhotos(): boolean {
  return invitation()?.guest !== true;
}

export interface FaceContext {
  /** The call's room; none before the call. */
  room?: string;
  camera: () => MediaStream | null;
}

/** The dialog of what the relay holds of oneself: adds, shows and deletes it. `onChange` hears the person or null. */
export class FaceDialog {
  readonly element = el("dialog", { class: "panel", "aria-labelledby": "face-title" });
  private readonly person = el("input", { id: "person", maxlength: "64", autocomplete: "off", spellcheck: "false" });
  private readonly files = el("input", { id: "photo-files", type: "file", accept: "image/*", multiple: "" });
  private readonly consent = el("input", { id: "consent", type: "checkbox" });
  private readonly days = el("input", { id: "days", type: "number", min: "1", max: "3650", value: "365" });
  private readonly snap = el("button", { type: "button", class: "wide" }, [icon("camera"), t.face.snap]);
  private readonly message = el("p", { class: "message", role: "status" });
  private readonly held = el("p", { class: "hint" });
  private readonly refused = el("ul", { class: "photos" });
  private readonly list = el("ul", { class: "photos" });
  private readonly views = el("ul", { class: "photos" });
  private readonly pictures = new Pictures();
  private readonly trials = new Pictures();
  private readonly erase = el("button", { type: "button", class: "danger" }, [t.face.erase]);
  private context: FaceContext = { camera: () => null };
  private name = "";
  /** Photos that wait for the consent. */
  private waiting: File[] = [];

  constructor(private readonly onChange: (person: string | null) => void) {
    const close = el("button", { type: "button", class: "plain", "aria-label": t.close }, [icon("close")]);
    close.addEventListener("click", () => this.element.close());
    this.element.addEventListener("close", () => this.forget());
    this.person.addEventListener("change", () => void this.refresh());
    this.erase.addEventListener("click", () => void this.eraseAll());
    this.files.addEventListener("change", () => {
      void this.add([...(this.files.files ?? [])]);
      this.files.value = "";
    });
    this.consent.addEventListener("change", () => {
      if (this.consent.checked && this.waiting.length > 0) void this.add(this.waiting);
    });
    this.snap.addEventListener("click", () => void this.takePhoto());
    this.element.append(
      el("header", {}, [el("h2", { id: "face-title" }, [t.face.title]), close]),
      el("p", { class: "hint" }, [t.face.lead]),
      el("h3", {}, [t.face.held]),
      this.held,
      this.list,
      this.views,
      this.erase,
      el("label", { for: "person" }, [t.face.person]),
      this.person,
      el("h3", {}, [t.face.consentTitle]),
      el("label", { class: "check", for: "consent" }, [this.consent, el("span", {}, [t.face.consent])]),
      el("div", { class: "row" }, [el("label", { for: "days" }, [t.face.days]), this.days]),
      this.dropZone(),
      this.snap,
      this.message,
      this.refused,
    );
  }

  open(suggestion: string, context: FaceContext): void {
    this.context = context;
    this.name = suggestion;
    this.person.value = registeredPerson() ?? this.person.value ?? "";
    if (!this.person.value) this.person.value = suggestion;
    const invited = invitation();
    if (invited) this.person.value = invited.name;
    this.person.readOnly = invited !== null;
    this.say("");
    this.element.showModal();
    void this.refresh();
  }

  private dropZone(): HTMLElement {
    const zone = el("div", { class: "drop" }, [
      el("label", { for: "photo-files" }, [t.face.add]),
      this.files,
      el("p", { class: "hint" }, [t.face.drop]),
    ]);
    zone.addEventListener("dragover", (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      void this.add([...(event.dataTransfer?.files ?? [])]);
    });
    return zone;
  }

  /** Nothing of the photos stays in the page, and the consent is asked for again. */
  private forget(): void {
    this.waiting = [];
    this.consent.checked = false;
    for (const list of [this.list, this.views, this.refused]) list.replaceChildren();
    this.pictures.clear();
    this.trials.clear();
  }

  private say(words: string, bad = false): void {
    this.message.textContent = words;
    this.message.classList.toggle("bad", bad);
  }

  private async takePhoto(): Promise<void> {
    const photo = await snapshot(this.context.camera(), t.face.snapName);
    if (photo) await this.add([photo]);
    else this.say(t.face.noCamera, true);
  }

  /** Shows the photos at once, and soon whether they were taken or why not. */
  private async add(files: File[]): Promise<void> {
    const person = this.person.value.trim();
    this.waiting = [];
    const problem =
      nameProblem(person, t.names.any) ??
      (files.length === 0 ? t.face.none : null) ??
      (files.length > MOST ? t.face.many(files.length) : null);
    if (problem) return this.say(problem, true);
    if (!this.consent.checked) {
      this.waiting = files;
      this.consent.focus();
      return this.say(t.face.noConsent, true);
    }
    this.trials.clear();
    const items = files.map((file) => this.trial(file));
    this.refused.replaceChildren(...items);
    this.say(t.face.checking);
    try {
      const photos = await registerPhotos(person, files, Number(this.days.value) || 365);
      const refused = photos.filter((photo) => !photo.accepted);
      const reasons = photos.flatMap((photo, at) => (photo.accepted ? [] : [`${files[at]?.name ?? t.face.aPhoto}: ${whyNot(photo)}`]));
      photos.forEach((photo, at) => {
        if (photo.accepted) items[at]?.remove();
        else items[at]?.querySelector("span")?.replaceChildren(whyNot(photo));
      });
      if (refused.length === 0) this.trials.clear();
      this.say([t.face.summary(photos.length - refused.length, photos.length), ...reasons].join("\n"), refused.length > 0);
      await this.refresh();
    } catch (error) {
      this.refused.replaceChildren();
      this.say(inWords(error), true);
    }
  }

  private trial(file: File): HTMLElement {
    const picture = el("img", { alt: file.name });
    void this.trials.show(picture, Promise.resolve(file));
    return el("li", {}, [picture, el("span", {}, [t.face.checking])]);
  }

  private async refresh(): Promise<void> {
    const person = this.person.value.trim();
    let photos: Photo[] = [];
    try {
      if (!nameProblem(person, t.names.any)) photos = (await listPhotos(person)).filter((photo) => photo.accepted);
    } catch (error) {
      return this.say(inWords(error), true);
    }
    if (!this.element.open) return; // nothing of the photos stays in the page
    this.pictures.clear();
    this.list.replaceChildren(...photos.map((photo) => this.item(person, photo)));
    this.erase.hidden = photos.length === 0;
    this.remember(photos.length > 0 ? person : null);
    const views = await this.viewsOfCall();
    if (!this.element.open) return;
    this.views.replaceChildren(...views.map((thumbnail) => el("li", {}, [el("img", { src: thumbnail, alt: t.face.viewAlt })])));
    const held = [
      ...(photos.length > 0 ? [t.face.heldPhotos(photos.length)] : []),
      ...(views.length > 0 ? [t.face.heldViews(views.length)] : []),
    ];
    this.held.textContent = held.length > 0 ? `${held.join(". ")}.` : t.face.heldNothing;
  }

  /** Thumbnails of what the relay keeps of one's own stream; none before the call. */
  private async viewsOfCall(): Promise<string[]> {
    const { room } = this.context;
    if (room === undefined) return [];
    const bank = await fetchBank(room, this.name).catch(() => null);
    return (bank?.exemplars ?? []).filter(({ source }) => source === "call").map(({ thumbnail }) => thumbnail);
  }

  private item(person: string, photo: Photo): HTMLElement {
    const button = el("button", { type: "button", class: "plain", "aria-label": t.face.remove, title: t.face.remove }, [
      icon("bin"),
    ]);
    button.addEventListener("click", () => void this.change(() => deletePhoto(person, photo.id), t.face.removed));
    const picture = el("img", { alt: t.face.photoAlt });
    void this.pictures.show(picture, fetchPhoto(person, photo.id));
    const until = photo.expires_at ? t.face.until(new Date(photo.expires_at).toLocaleDateString(language)) : "";
    return el("li", {}, [picture, el("span", {}, [until]), button]);
  }

  private async eraseAll(): Promise<void> {
    const person = this.person.value.trim();
    if (!confirm(t.face.eraseAsk(person))) return;
    await this.change(() => deletePerson(person), t.face.erased);
  }

  private async change(act: () => Promise<void>, done: string): Promise<void> {
    try {
      await act();
      this.say(done);
    } catch (error) {
      this.say(inWords(error), true);
    }
    await this.refresh();
  }

  private remember(person: string | null): void {
    if (person === registeredPerson()) return;
    if (person) localStorage.setItem(STORED, person);
    else localStorage.removeItem(STORED);
    this.onChange(person);
  }
}

/** Why a photo was not accepted, in the user's language where its kind is known. */
function whyNot({ kind, reason }: Photo): string {
  return t.face.unusable[kind ?? ""] ?? reason ?? "";
}
