import { invitation, withInvitation, type Access } from "./access";
import { QUALITIES, mediaProblem, openMedia, stopMedia, type DeviceChoice, type Quality } from "./devices";
import { byId, el, segmented } from "./dom";
import { icon } from "./icons";
import { LevelMeter } from "./level";
import { nameProblem } from "./names";
import { outputChoice } from "./output";
import { languageChoice, lookChoice } from "./looks";
import { mayHavePhotos, type FaceDialog } from "./photos";
import { t } from "./strings";
import { playTone } from "./tone";

export interface Entry {
  room: string;
  name: string;
  /** Whose photos the link asks for, besides one's own. */
  persons: readonly string[];
  /** null for one who only watches. */
  stream: MediaStream | null;
  choice: DeviceChoice;
}

const REMEMBERED = "hime.lobby";

/** Before the call: names, devices, a look at oneself. Camera and microphone are opened by a click alone. */
export class Lobby {
  private readonly element = byId("lobby");
  private readonly room = byId<HTMLInputElement>("room");
  private readonly name = byId<HTMLInputElement>("name");
  private readonly camera = byId<HTMLSelectElement>("camera");
  private readonly microphone = byId<HTMLSelectElement>("microphone");
  private readonly preview = byId<HTMLVideoElement>("preview");
  private readonly note = byId("preview-note");
  private readonly words = byId("preview-words");
  private readonly turnOn = byId<HTMLButtonElement>("turn-on");
  private readonly turnOff = byId<HTMLButtonElement>("turn-off");
  private readonly submit = byId<HTMLButtonElement>("join");
  private readonly message = byId("join-message");
  private readonly meter = new LevelMeter(byId("level"));
  private readonly choice: DeviceChoice = { camera: "", microphone: "", quality: "medium" };
  private readonly watchOnly = invitation()?.publish === false;
  private stream: MediaStream | null = null;
  /** Counts what was asked of the camera: an answer that comes after the next question is closed again. */
  private asked = 0;

  constructor(
    private readonly given: { room: string; name: string; persons: readonly string[] },
    access: Access,
    face: FaceDialog,
    private readonly onJoin: (entry: Entry) => void,
  ) {
    const remembered = JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}") as Partial<DeviceChoice & { name: string; room: string }>;
    this.choice.camera = remembered.camera ?? "";
    this.choice.microphone = remembered.microphone ?? "";
    if (remembered.quality && remembered.quality in QUALITIES) this.choice.quality = remembered.quality;
    const invited = invitation();
    this.room.value = invited?.room ?? (given.room || remembered.room || "");
    this.name.value = invited?.name ?? (given.name || remembered.name || "");
    this.room.readOnly = this.name.readOnly = invited !== null;
    byId("invited-hint").hidden = invited === null;
    byId<HTMLAnchorElement>("lobby-dashboard").href = withInvitation("/dashboard");
    byId("lobby-dashboard").hidden = access.tokens && !invited;
    const qualities = Object.entries(QUALITIES).map(([value, { text, width, height }]) => ({
      value: value as Quality,
      text,
      hint: `${width} × ${height}`,
    }));
    byId("quality").append(
      segmented(t.page.quality, qualities, this.choice.quality, (quality) => this.choose({ quality })),
    );
    this.camera.addEventListener("change", () => this.choose({ camera: this.camera.value }));
    this.microphone.addEventListener("change", () => this.choose({ microphone: this.microphone.value }));
    this.turnOn.prepend(icon("camera"));
    this.turnOn.addEventListener("click", () => void this.start());
    this.turnOff.append(icon("cameraOff"));
    this.turnOff.addEventListener("click", () => {
      this.stop();
      this.turnOn.focus();
    });
    byId("join-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.join();
    });
    byId("lobby-face").hidden = !mayHavePhotos();
    byId("lobby-face").addEventListener("click", () => face.open(this.name.value.trim(), { camera: () => this.stream }));
    byId("hear").append(...outputChoice("output", [], () => void playTone()));
    byId("looks").append(el("div", {}, languageChoice("language")), el("div", {}, lookChoice("look")));
    byId("more").addEventListener("click", () => this.shorten(false));
    if (this.watchOnly) this.element.classList.add("watch-only");
  }

  /** With `words` that say why one is here again. `ready`: the link names everything, and one click joins. */
  open(words = "", ready = false): void {
    this.element.hidden = false;
    this.say(words);
    this.stop();
    this.shorten(ready && this.problem() === null);
    const first = this.room.value ? (this.name.value && !words ? this.submit : this.name) : this.room;
    first.focus({ preventScroll: true }); // what is above it is to be seen first
  }

  /** Nobody is let in here; the words say why. */
  close(words: string): void {
    this.element.hidden = false;
    this.element.classList.add("closed");
    byId("closed-words").textContent = words;
  }

  private problem(): string | null {
    return nameProblem(this.room.value.trim(), t.names.room) ?? nameProblem(this.name.value.trim(), t.names.own);
  }

  /** Hands the camera over to the call, opened first where it is not yet; says what is missing otherwise. */
  private async join(): Promise<void> {
    const room = this.room.value.trim();
    const name = this.name.value.trim();
    const problem = this.problem();
    this.say(problem ?? "");
    if (problem) {
      (nameProblem(room, "") ? this.room : this.name).focus();
      return;
    }
    if (!this.watchOnly && !this.stream) {
      this.submit.disabled = true;
      await this.start();
      this.submit.disabled = false;
      if (!this.stream) return;
    }
    localStorage.setItem(REMEMBERED, JSON.stringify({ ...this.choice, name, room }));
    const stream = this.stream;
    this.stream = null;
    this.preview.srcObject = null;
    this.meter.stop();
    const allowed = invitation()?.persons;
    const persons = this.given.persons.filter((person) => !allowed || person === name || allowed.includes(person));
    this.onJoin({ room, name, persons, stream, choice: { ...this.choice } });
  }

  private choose(change: Partial<DeviceChoice>): void {
    Object.assign(this.choice, change);
    if (this.turnOn.hidden) void this.start(); // it is on, or about to be
  }

  private async start(): Promise<void> {
    this.stop();
    const asked = this.asked;
    this.turnOn.hidden = true;
    this.words.textContent = t.lobby.opening;
    let stream: MediaStream;
    try {
      stream = await openMedia(this.choice);
    } catch (error) {
      if (asked !== this.asked) return;
      this.words.textContent = mediaProblem(error);
      this.turnOn.hidden = false;
      return;
    }
    if (asked !== this.asked) return stopMedia(stream);
    this.stream = stream;
    this.say("");
    this.note.hidden = true;
    this.turnOff.hidden = false;
    this.preview.srcObject = stream;
    this.meter.start(stream);
    await this.listDevices();
  }

  private stop(): void {
    this.asked += 1;
    stopMedia(this.stream);
    this.stream = null;
    this.preview.srcObject = null;
    this.meter.stop();
    this.note.hidden = this.turnOn.hidden = false;
    this.turnOff.hidden = true;
    this.words.textContent = t.lobby.off;
    byId("devices").hidden = true;
  }

  /** Shows one button to join with, or the whole form. */
  private shorten(short: boolean): void {
    this.element.classList.toggle("short", short);
    this.submit.textContent = short ? t.lobby.joinAs(this.room.value, this.name.value) : t.page.join;
  }

  private async listDevices(): Promise<void> {
    const devices = await navigator.mediaDevices.enumerateDevices();
    const fill = (select: HTMLSelectElement, kind: MediaDeviceKind, track: MediaStreamTrack | undefined): void => {
      const mine = devices.filter((device) => device.kind === kind);
      select.replaceChildren(
        ...mine.map((device, index) => el("option", { value: device.deviceId }, [device.label || t.lobby.device(index + 1)])),
      );
      select.value = track?.getSettings().deviceId ?? select.value;
    };
    fill(this.camera, "videoinput", this.stream?.getVideoTracks()[0]);
    fill(this.microphone, "audioinput", this.stream?.getAudioTracks()[0]);
    byId("hear").replaceChildren(...outputChoice("output", devices, () => void playTone()));
    byId("devices").hidden = this.stream === null;
  }

  private say(words: string): void {
    this.message.textContent = words;
  }
}
