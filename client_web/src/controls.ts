import { mediaProblem, openMedia, QUALITIES, type DeviceChoice, type Quality } from "./devices";
import { el, segmented } from "./dom";
import { icon, type IconName } from "./icons";
import type { Entry } from "./lobby";
import { mayHavePhotos } from "./photos";

export interface ControlHandlers {
  /** The tracks of this stream are sent from now on. */
  onMedia: (stream: MediaStream) => Promise<void>;
  onSelfView: (on: boolean) => void;
  onPhotos: () => void;
  onLeave: () => void;
}

/** The buttons under the stage and the dialog that changes devices during the call. */
export class ControlBar {
  readonly buttons: HTMLElement[];
  readonly dialog = el("dialog", { class: "panel", "aria-labelledby": "devices-title" });
  private readonly message = el("p", { class: "message bad", role: "alert" });
  private readonly enabled = { audio: true, video: true };

  constructor(
    private readonly entry: Entry,
    private readonly handlers: ControlHandlers,
  ) {
    const self = button("self", "Self", "Show yourself as others see you");
    self.setAttribute("aria-pressed", "false");
    self.addEventListener("click", () => {
      const on = self.getAttribute("aria-pressed") !== "true";
      self.setAttribute("aria-pressed", String(on));
      handlers.onSelfView(on);
    });
    const photos = button("photos", "Photos", "Photos of you");
    photos.addEventListener("click", () => handlers.onPhotos());
    const settings = button("settings", "Devices", "Camera, microphone and picture size");
    settings.addEventListener("click", () => void this.openDialog());
    const leave = button("leave", "Leave", "Leave the call");
    leave.classList.add("leave");
    leave.addEventListener("click", () => handlers.onLeave());
    // who only watches sends nothing that could be muted, shown or chosen
    this.buttons = entry.stream ? [this.mute("audio"), this.mute("video"), self, photos, settings, leave] : [leave];
    photos.hidden = !mayHavePhotos();
  }

  close(): void {
    this.dialog.close();
    this.dialog.remove();
  }

  private mute(kind: "audio" | "video"): HTMLButtonElement {
    const [on, off, text]: [IconName, IconName, string] =
      kind === "audio" ? ["mic", "micOff", "Mic"] : ["camera", "cameraOff", "Camera"];
    const toggle = button(on, text, "");
    const show = (): void => {
      const live = this.enabled[kind];
      toggle.classList.toggle("off", !live);
      toggle.querySelector(".icon")!.replaceWith(icon(live ? on : off));
      const words = `Turn the ${kind === "audio" ? "microphone" : "camera"} ${live ? "off" : "on"}`;
      toggle.setAttribute("aria-label", words);
      toggle.title = words;
    };
    toggle.addEventListener("click", () => {
      this.enabled[kind] = !this.enabled[kind];
      this.apply();
      show();
    });
    show();
    return toggle;
  }

  /** A muted camera sends black, a muted microphone silence; both tracks stay alive. */
  private apply(): void {
    for (const track of this.entry.stream?.getTracks() ?? []) track.enabled = this.enabled[track.kind as "audio" | "video"];
  }

  private async openDialog(): Promise<void> {
    const devices = await navigator.mediaDevices.enumerateDevices();
    const { choice } = this.entry;
    const select = (kind: MediaDeviceKind, key: "camera" | "microphone", label: string): HTMLElement[] => {
      const used = this.entry.stream?.getTracks().find((track) => kind.startsWith(track.kind))?.getSettings().deviceId;
      const options = devices
        .filter((device) => device.kind === kind)
        .map((device) => el("option", { value: device.deviceId }, [device.label || "Device"]));
      const element = el("select", { id: `call-${key}` }, options);
      element.value = used ?? choice[key];
      element.addEventListener("change", () => void this.change({ [key]: element.value }));
      return [el("label", { for: element.id }, [label]), element];
    };
    const qualities = Object.entries(QUALITIES).map(([value, { text, width, height }]) => ({
      value: value as Quality,
      text,
      hint: `${width} × ${height}`,
    }));
    const close = el("button", { type: "button", class: "plain", "aria-label": "Close" }, [icon("close")]);
    close.addEventListener("click", () => this.dialog.close());
    this.message.textContent = "";
    this.dialog.replaceChildren(
      el("header", {}, [el("h2", { id: "devices-title" }, ["Devices"]), close]),
      ...select("videoinput", "camera", "Camera"),
      ...select("audioinput", "microphone", "Microphone"),
      el("span", { class: "label" }, ["Picture that is sent"]),
      segmented("Picture that is sent", qualities, choice.quality, (quality) => void this.change({ quality })),
      this.message,
    );
    this.dialog.showModal();
  }

  private async change(change: Partial<DeviceChoice>): Promise<void> {
    const before = this.entry.stream;
    if (!before) return;
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
    this.apply();
    await this.handlers.onMedia(this.entry.stream);
  }
}

function button(name: IconName, text: string, title: string): HTMLButtonElement {
  const element = el("button", { type: "button", class: "control", title }, [icon(name), el("span", {}, [text])]);
  if (title) element.setAttribute("aria-label", title);
  return element;
}
