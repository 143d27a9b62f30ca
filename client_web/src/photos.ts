import { invitation } from "./access";
import { el } from "./dom";
import { inWords } from "./http";
import { icon } from "./icons";
import { nameProblem } from "./names";
import { deletePerson, deletePhoto, fetchPhoto, listPhotos, registerPhotos, type Photo } from "./people";
import { Pictures } from "./pictures";

const STORED = "hime.person";

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

/** The dialog that registers, shows and deletes photos of oneself. `onChange` hears the person or null. */
export class PhotoDialog {
  readonly element = el("dialog", { class: "panel", "aria-labelledby": "photos-title" });
  private readonly person = el("input", { id: "person", maxlength: "64", autocomplete: "off", spellcheck: "false" });
  private readonly files = el("input", { id: "photo-files", type: "file", accept: "image/*", multiple: "" });
  private readonly consent = el("input", { id: "consent", type: "checkbox" });
  private readonly days = el("input", { id: "days", type: "number", min: "1", max: "3650", value: "365" });
  private readonly send = el("button", { type: "submit", class: "primary" }, ["Register"]);
  private readonly message = el("p", { class: "message", role: "status" });
  private readonly list = el("ul", { class: "photos" });
  private readonly pictures = new Pictures();
  private readonly erase = el("button", { type: "button", class: "danger" }, ["Delete everything"]);

  constructor(private readonly onChange: (person: string | null) => void) {
    const close = el("button", { type: "button", class: "plain", "aria-label": "Close" }, [icon("close")]);
    close.addEventListener("click", () => this.element.close());
    const form = el("form", {}, [
      el("label", { for: "person" }, ["Your name for photos"]),
      this.person,
      el("label", { for: "photo-files" }, ["Photos (1 to 10), one face in each, close and sharp"]),
      this.files,
      el("div", { class: "row" }, [el("label", { for: "days" }, ["Keep for days"]), this.days]),
      el("label", { class: "check", for: "consent" }, [
        this.consent,
        el("span", {}, [
          "These photos show me. I agree that this server stores them to give my face its details back in calls, until they expire or I delete them.",
        ]),
      ]),
      this.send,
    ]);
    form.noValidate = true;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.register();
    });
    this.element.addEventListener("close", () => {
      this.list.replaceChildren();
      this.pictures.clear();
    });
    this.person.addEventListener("change", () => void this.refresh());
    this.erase.addEventListener("click", () => void this.eraseAll());
    this.element.append(
      el("header", {}, [el("h2", { id: "photos-title" }, ["Photos of you"]), close]),
      el("p", { class: "hint" }, [
        "With a photo, your face is enhanced from the first second, without having been close to the camera.",
      ]),
      form,
      this.message,
      this.list,
      this.erase,
    );
  }

  open(suggestion: string): void {
    this.person.value = registeredPerson() ?? this.person.value ?? "";
    if (!this.person.value) this.person.value = suggestion;
    const invited = invitation();
    if (invited) this.person.value = invited.name;
    this.person.readOnly = invited !== null;
    this.say("");
    this.element.showModal();
    void this.refresh();
  }

  private say(words: string, bad = false): void {
    this.message.textContent = words;
    this.message.classList.toggle("bad", bad);
  }

  private async register(): Promise<void> {
    const person = this.person.value.trim();
    const files = [...(this.files.files ?? [])];
    const problem =
      nameProblem(person, "The name") ??
      (files.length === 0 ? "Choose at least one photo." : null) ??
      (files.length > 10 ? `${files.length} photos were chosen; 10 at a time are the most.` : null) ??
      (this.consent.checked ? null : "Photos are stored only with your consent: tick the box to agree.");
    if (problem) return this.say(problem, true);
    this.send.disabled = true;
    this.say("Sending…");
    try {
      const photos = await registerPhotos(person, files, Number(this.days.value) || 365);
      const refused = photos.filter((photo) => !photo.accepted);
      const reasons = photos.flatMap((photo, at) => (photo.accepted ? [] : [`${files[at]?.name ?? "A photo"}: ${photo.reason}`]));
      const summary = `${photos.length - refused.length} of ${photos.length} photos registered.`;
      this.say([summary, ...reasons].join("\n"), refused.length > 0);
      this.files.value = "";
      this.consent.checked = false;
      await this.refresh();
    } catch (error) {
      this.say(inWords(error), true);
    } finally {
      this.send.disabled = false;
    }
  }

  private async refresh(): Promise<void> {
    const person = this.person.value.trim();
    let photos: Photo[] = [];
    try {
      if (!nameProblem(person, "The name")) photos = (await listPhotos(person)).filter((photo) => photo.accepted);
    } catch (error) {
      return this.say(inWords(error), true);
    }
    this.pictures.clear();
    this.list.replaceChildren(...photos.map((photo) => this.item(person, photo)));
    this.erase.hidden = photos.length === 0;
    this.remember(photos.length > 0 ? person : null);
  }

  private item(person: string, photo: Photo): HTMLElement {
    const button = el("button", { type: "button", class: "plain", "aria-label": "Delete this photo", title: "Delete this photo" }, [
      icon("bin"),
    ]);
    button.addEventListener("click", () => void this.change(() => deletePhoto(person, photo.id), "The photo is deleted."));
    const picture = el("img", { alt: "A registered photo of you" });
    void this.pictures.show(picture, fetchPhoto(person, photo.id));
    return el("li", {}, [
      picture,
      el("span", {}, [photo.expires_at ? `until ${new Date(photo.expires_at).toLocaleDateString()}` : ""]),
      button,
    ]);
  }

  private async eraseAll(): Promise<void> {
    const person = this.person.value.trim();
    if (!confirm(`Delete every photo of ${person} and all that was computed from them?`)) return;
    await this.change(() => deletePerson(person), "Everything about you is deleted.");
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
