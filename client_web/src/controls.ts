import { el } from "./dom";
import { DeviceDialog } from "./hardware";
import { icon, type IconName } from "./icons";
import type { Entry } from "./lobby";
import { entry, moreMenu, rename } from "./menu";
import { mayHavePhotos } from "./photos";
import { canShareScreen, openScreen } from "./screen";
import { shortcutDialog } from "./shortcuts";
import { t } from "./strings";
import type { Content } from "./whip";

export interface ControlHandlers {
  /** The tracks of this stream are sent from now on; its picture is of that. */
  onMedia: (stream: MediaStream, content: Content) => Promise<void>;
  onSelfView: (on: boolean) => void;
  onFace: () => void;
  onCheck: () => void;
  onTrouble: (words: string) => void;
  onLeave: () => void;
}
type Kind = "audio" | "video";

/** The buttons under the stage, and what is sent: camera or screen, microphone, or neither. */
export class ControlBar {
  readonly buttons: HTMLElement[];
  readonly devices: DeviceDialog;
  readonly shortcuts = shortcutDialog();
  private readonly enabled = { audio: true, video: true };
  private readonly toggles = new Map<Kind, HTMLButtonElement>();
  private readonly share = button("screen", t.controls.share, t.controls.shareOn);
  private closed = false;
  private screen: MediaStreamTrack | null = null;

  constructor(
    private readonly entry: Entry,
    private readonly handlers: ControlHandlers,
  ) {
    this.devices = new DeviceDialog(entry, async () => {
      this.apply();
      await this.send();
    });
    const face = button("face", t.controls.face, t.face.title);
    face.addEventListener("click", () => handlers.onFace());
    face.hidden = !mayHavePhotos();
    const leave = button("leave", t.controls.leave, t.controls.leaveLong);
    leave.classList.add("leave");
    leave.addEventListener("click", () => handlers.onLeave());
    this.share.addEventListener("click", () => void (this.screen ? this.endShare() : this.beginShare()));
    this.share.hidden = !canShareScreen();
    this.share.setAttribute("aria-pressed", "false");
    // who only watches sends nothing that could be muted, shown or chosen
    this.buttons = entry.stream
      ? [this.mute("audio"), this.mute("video"), this.share, face, this.more(), leave]
      : [this.more(), leave];
  }

  close(): void {
    this.closed = true;
    this.screen?.stop();
    this.devices.close();
    this.shortcuts.close();
    this.shortcuts.remove();
  }

  /** As a click on the microphone's or the camera's button. */
  toggle(kind: Kind): void {
    this.toggles.get(kind)?.click();
  }

  private more(): HTMLElement {
    const more = button("dots", t.controls.more, t.controls.moreLong);
    const entries = [
      entry("ways", t.page.check, () => this.handlers.onCheck()),
      entry("keys", t.controls.shortcuts, () => this.shortcuts.showModal()),
    ];
    const devices = this.entry.stream ? t.controls.devices : t.controls.devicesWatching;
    entries.unshift(entry("settings", devices, () => void this.devices.open()));
    if (this.entry.stream) {
      let on = false;
      const self = entry("self", t.controls.self, () => {
        on = !on;
        rename(self, on ? t.controls.selfOff : t.controls.self);
        this.handlers.onSelfView(on);
      });
      entries.unshift(self);
    }
    return moreMenu(more, t.controls.more, entries);
  }

  private mute(kind: Kind): HTMLButtonElement {
    const [on, off, text]: [IconName, IconName, string] =
      kind === "audio" ? ["mic", "micOff", t.controls.mic] : ["camera", "cameraOff", t.controls.camera];
    const [turnOn, turnOff] =
      kind === "audio" ? [t.controls.micOn, t.controls.micOff] : [t.controls.cameraOn, t.controls.cameraOff];
    const toggle = button(on, text, "");
    const show = (): void => {
      const live = this.enabled[kind];
      toggle.classList.toggle("off", !live);
      toggle.querySelector(".icon")!.replaceWith(icon(live ? on : off));
      toggle.setAttribute("aria-label", live ? turnOff : turnOn);
      toggle.title = live ? turnOff : turnOn;
    };
    toggle.addEventListener("click", () => {
      this.enabled[kind] = !this.enabled[kind];
      this.apply();
      show();
    });
    show();
    this.toggles.set(kind, toggle);
    return toggle;
  }

  /** A muted camera sends black, a muted microphone silence; both tracks stay alive. */
  private apply(): void {
    for (const track of this.entry.stream?.getTracks() ?? []) track.enabled = this.enabled[track.kind as Kind];
  }

  private async beginShare(): Promise<void> {
    try {
      this.screen = await openScreen();
    } catch {
      return this.handlers.onTrouble(t.controls.shareFailed);
    }
    if (this.closed) return this.screen?.stop(); // the call ended while the picker was open
    // by the browser's own button, too
    this.screen?.addEventListener("ended", () => void this.endShare());
    if (this.screen) await this.send();
  }

  private async endShare(): Promise<void> {
    this.screen?.stop();
    this.screen = null;
    await this.send();
  }

  private async send(): Promise<void> {
    const words = this.screen ? t.controls.shareOff : t.controls.shareOn;
    this.share.setAttribute("aria-pressed", String(this.screen !== null));
    this.share.setAttribute("aria-label", words);
    this.share.title = words;
    const stream = this.entry.stream;
    if (!stream) return;
    if (!this.screen) return this.handlers.onMedia(stream, "camera");
    await this.handlers.onMedia(new MediaStream([this.screen, ...stream.getAudioTracks()]), "screen");
  }
}

function button(name: IconName, text: string, title: string): HTMLButtonElement {
  const element = el("button", { type: "button", class: "control", title }, [icon(name), el("span", {}, [text])]);
  if (title) element.setAttribute("aria-label", title);
  return element;
}
