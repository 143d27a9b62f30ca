import { mediaProblem, openMedia, QUALITIES, stopMedia, type DeviceChoice, type Quality } from "./devices";
import { el, segmented } from "./dom";
import { inWords } from "./http";
import { icon } from "./icons";
import type { Entry } from "./lobby";
import { lookChoice } from "./looks";
import { outputChoice } from "./output";
import { t } from "./strings";
import { playTone } from "./tone";

/** The dialog that changes devices during the call, and hands over from one camera to another. */
export class DeviceDialog {
  readonly element = el("dialog", { class: "panel", "aria-labelledby": "devices-title" });
  private readonly message = el("p", { class: "message bad", role: "alert" });
  private changing: Promise<void> = Promise.resolve();
  private closed = false;

  /** `onChange`: the entry has another stream now. */
  constructor(
    private readonly entry: Entry,
    private readonly onChange: () => Promise<void>,
  ) {
    this.follow();
  }

  close(): void {
    this.closed = true;
    this.element.close();
    this.element.remove();
  }

  async open(): Promise<void> {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? []; // hidden from pages that came over plain http
    const { choice } = this.entry;
    const select = (kind: MediaDeviceKind, key: "camera" | "microphone"): HTMLElement[] => {
      const used = this.entry.stream?.getTracks().find((track) => kind.startsWith(track.kind))?.getSettings().deviceId;
      const options = devices
        .filter((device) => device.kind === kind)
        .map((device) => el("option", { value: device.deviceId }, [device.label || t.controls.device]));
      const element = el("select", { id: `call-${key}` }, options);
      element.value = used ?? choice[key];
      element.addEventListener("change", () => this.change(() => ({ [key]: element.value })));
      return [el("label", { for: element.id }, [t.page[key]]), element];
    };
    const qualities = Object.entries(QUALITIES).map(([value, { text, width, height }]) => ({
      value: value as Quality,
      text,
      hint: `${width} × ${height}`,
    }));
    const close = el("button", { type: "button", class: "plain", "aria-label": t.close }, [icon("close")]);
    close.addEventListener("click", () => this.element.close());
    this.message.textContent = "";
    // who only watches sends nothing that could be chosen
    const sent = (): HTMLElement[] => [
      ...select("videoinput", "camera"),
      ...select("audioinput", "microphone"),
      el("span", { class: "label" }, [t.page.quality]),
      segmented(t.page.quality, qualities, choice.quality, (quality) => this.change(() => ({ quality }))),
    ];
    this.element.replaceChildren(
      el("header", {}, [el("h2", { id: "devices-title" }, [t.controls.devicesTitle]), close]),
      ...(this.entry.stream ? sent() : []),
      ...outputChoice("call-output", devices, () => void playTone()),
      ...lookChoice("call-look"),
      this.message,
    );
    this.element.showModal();
  }

  /** A device that is unplugged is followed by whatever there is; a webcam takes its microphone along. */
  private follow(): void {
    const keys = { video: "camera", audio: "microphone" } as const;
    const gone = (): Partial<DeviceChoice> | null => {
      const ended = this.entry.stream?.getTracks().filter((track) => track.readyState === "ended") ?? [];
      if (ended.length === 0) return null; // they have been followed already
      return Object.fromEntries(ended.map((track) => [keys[track.kind as keyof typeof keys], ""]));
    };
    for (const track of this.entry.stream?.getTracks() ?? []) track.addEventListener("ended", () => this.change(gone));
  }

  /** One after the other: no stream is opened that nobody closes. What fails does not keep off those after it. */
  private change(wanted: () => Partial<DeviceChoice> | null): void {
    this.changing = this.changing
      .then(() => this.apply(wanted()))
      .catch((error: unknown) => {
        this.message.textContent = inWords(error);
      });
  }

  private async apply(change: Partial<DeviceChoice> | null): Promise<void> {
    const before = this.entry.stream;
    if (!before || !change || this.closed) return;
    const choice = { ...this.entry.choice, ...change };
    // the old camera is closed first: many cannot be opened twice, or not at another size
    before.getTracks().forEach((track) => track.stop());
    try {
      this.entry.stream = await openMedia(choice);
      this.entry.choice = choice;
      this.message.textContent = "";
    } catch (error) {
      this.message.textContent = mediaProblem(error);
      this.entry.stream = await openMedia(this.entry.choice).catch(() => before);
    }
    if (this.closed) return stopMedia(this.entry.stream); // the call ended meanwhile
    if (this.entry.stream !== before) this.follow();
    await this.onChange();
  }
}
