import { QUALITIES, mediaProblem, openMedia, stopMedia, type DeviceChoice, type Quality } from "./devices";
import { byId, el, segmented } from "./dom";
import { LevelMeter } from "./level";
import { nameProblem } from "./names";
import type { PhotoDialog } from "./photos";

export interface Entry {
  room: string;
  name: string;
  /** Whose photos the link asks for, besides one's own. */
  persons: readonly string[];
  stream: MediaStream;
  choice: DeviceChoice;
}

const REMEMBERED = "hime.lobby";

/** Before the call: names, devices, a look at oneself. */
export class Lobby {
  private readonly room = byId<HTMLInputElement>("room");
  private readonly name = byId<HTMLInputElement>("name");
  private readonly camera = byId<HTMLSelectElement>("camera");
  private readonly microphone = byId<HTMLSelectElement>("microphone");
  private readonly preview = byId<HTMLVideoElement>("preview");
  private readonly note = byId("preview-note");
  private readonly message = byId("join-message");
  private readonly meter = new LevelMeter(byId("level"));
  private readonly choice: DeviceChoice = { camera: "", microphone: "", quality: "medium" };
  private stream: MediaStream | null = null;

  constructor(
    private readonly given: { room: string; name: string; persons: readonly string[] },
    photos: PhotoDialog,
    private readonly onJoin: (entry: Entry) => void,
  ) {
    const remembered = JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}") as Partial<DeviceChoice & { name: string; room: string }>;
    this.choice.camera = remembered.camera ?? "";
    this.choice.microphone = remembered.microphone ?? "";
    if (remembered.quality && remembered.quality in QUALITIES) this.choice.quality = remembered.quality;
    this.room.value = given.room || remembered.room || "";
    this.name.value = given.name || remembered.name || "";
    const qualities = Object.entries(QUALITIES).map(([value, { text, width, height }]) => ({
      value: value as Quality,
      text,
      hint: `${width} × ${height}`,
    }));
    byId("quality").append(
      segmented("Picture that is sent", qualities, this.choice.quality, (quality) => this.choose({ quality })),
    );
    this.camera.addEventListener("change", () => this.choose({ camera: this.camera.value }));
    this.microphone.addEventListener("change", () => this.choose({ microphone: this.microphone.value }));
    byId("join-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.join();
    });
    byId("lobby-photos").addEventListener("click", () => photos.open(this.name.value.trim()));
  }

  async open(): Promise<void> {
    byId("lobby").hidden = false;
    this.say("");
    (this.room.value ? (this.name.value ? byId("join") : this.name) : this.room).focus();
    await this.restart();
  }

  /** Hands the running camera over to the call; says what is missing otherwise. */
  join(): void {
    const room = this.room.value.trim();
    const name = this.name.value.trim();
    const problem = nameProblem(room, "The room") ?? nameProblem(name, "Your name");
    if (problem) {
      this.say(problem);
      (nameProblem(room, "") ? this.room : this.name).focus();
      return;
    }
    if (!this.stream) {
      void this.restart();
      return;
    }
    localStorage.setItem(REMEMBERED, JSON.stringify({ ...this.choice, name, room }));
    const stream = this.stream;
    this.stream = null;
    this.preview.srcObject = null;
    this.meter.stop();
    this.onJoin({ room, name, persons: this.given.persons, stream, choice: { ...this.choice } });
  }

  private choose(change: Partial<DeviceChoice>): void {
    Object.assign(this.choice, change);
    void this.restart();
  }

  private async restart(): Promise<void> {
    stopMedia(this.stream);
    this.stream = null;
    this.meter.stop();
    this.note.hidden = false;
    this.note.textContent = "Opening camera and microphone…";
    try {
      this.stream = await openMedia(this.choice);
    } catch (error) {
      this.note.textContent = mediaProblem(error);
      return;
    }
    this.say("");
    this.note.hidden = true;
    this.preview.srcObject = this.stream;
    this.meter.start(this.stream);
    await this.listDevices();
  }

  private async listDevices(): Promise<void> {
    const devices = await navigator.mediaDevices.enumerateDevices();
    const fill = (select: HTMLSelectElement, kind: MediaDeviceKind, track: MediaStreamTrack | undefined): void => {
      const mine = devices.filter((device) => device.kind === kind);
      select.replaceChildren(
        ...mine.map((device, index) => el("option", { value: device.deviceId }, [device.label || `Device ${index + 1}`])),
      );
      select.value = track?.getSettings().deviceId ?? select.value;
    };
    fill(this.camera, "videoinput", this.stream?.getVideoTracks()[0]);
    fill(this.microphone, "audioinput", this.stream?.getAudioTracks()[0]);
  }

  private say(words: string): void {
    this.message.textContent = words;
  }
}
