import { el } from "./dom";
import { t } from "./strings";

const STORED = "hime.output";

/** Whether the browser lets a page choose where its sound goes (W3C Audio Output Devices API). */
function isOffered(): boolean {
  return typeof HTMLMediaElement !== "undefined" && "setSinkId" in HTMLMediaElement.prototype;
}

/** Sends the sound of `media` to the chosen device; while that is not there, to the one that the system has chosen. */
export async function toOutput(media: HTMLMediaElement): Promise<void> {
  if (!isOffered()) return;
  const device = await chosen();
  if (media.sinkId !== device) await media.setSinkId(device).catch(() => undefined); // it plays on where it did
}

/** Follows devices that come and go, until the signal. */
export function followOutput(signal: AbortSignal): void {
  if (isOffered()) navigator.mediaDevices?.addEventListener("devicechange", routeAll, { signal });
}

/** A label, a list to choose the device from and a button to hear it; the last alone where there is no choice. */
export function outputChoice(id: string, devices: readonly MediaDeviceInfo[], onTest: () => void): HTMLElement[] {
  const test = el("button", { type: "button", class: "link" }, [t.page.speakers]);
  test.addEventListener("click", onTest);
  const outputs = outputsOf(devices);
  if (outputs.length === 0) return [test];
  const options = outputs.map(({ deviceId, label }, at) => el("option", { value: deviceId }, [label || t.lobby.device(at + 1)]));
  const select = el("select", { id }, options);
  const stored = localStorage.getItem(STORED) ?? "";
  if (outputs.some(({ deviceId }) => deviceId === stored)) select.value = stored;
  select.addEventListener("change", () => {
    localStorage.setItem(STORED, select.value);
    routeAll();
  });
  return [el("label", { for: id }, [t.page.output]), select, test];
}

/** Those with an id: without leave to use the microphone, browsers tell of none. */
function outputsOf(devices: readonly MediaDeviceInfo[]): readonly MediaDeviceInfo[] {
  return isOffered() ? devices.filter(({ kind, deviceId }) => kind === "audiooutput" && deviceId !== "") : [];
}

/** "" is the system's choice. */
async function chosen(): Promise<string> {
  const stored = localStorage.getItem(STORED) ?? "";
  if (stored === "") return "";
  const outputs = outputsOf(await navigator.mediaDevices.enumerateDevices());
  return outputs.some(({ deviceId }) => deviceId === stored) ? stored : "";
}

function routeAll(): void {
  for (const video of document.querySelectorAll("video")) void toOutput(video);
}
