import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { followOutput, toOutput } from "../src/output";

class Media {
  sinkId = "";
  fails = false;

  async setSinkId(id: string): Promise<void> {
    if (this.fails) throw new DOMException("", "AbortError");
    this.sinkId = id;
  }
}

let outputs: string[];
let stored: string | null;
let devices: EventTarget;

beforeEach(() => {
  outputs = ["default", "headset"];
  stored = "headset";
  devices = Object.assign(new EventTarget(), {
    enumerateDevices: async () => outputs.map((deviceId) => ({ kind: "audiooutput", deviceId, label: deviceId })),
  });
  vi.stubGlobal("navigator", { mediaDevices: devices });
  vi.stubGlobal("localStorage", { getItem: () => stored });
  vi.stubGlobal("HTMLMediaElement", Media);
});
afterEach(() => vi.unstubAllGlobals());

const route = async (media: Media): Promise<string> => {
  await toOutput(media as unknown as HTMLMediaElement);
  return media.sinkId;
};

it("sends sound to the chosen device", async () => {
  expect(await route(new Media())).toBe("headset");
});

it("leaves it to the system where nothing was chosen, or the device refuses", async () => {
  const refusing = Object.assign(new Media(), { fails: true });
  expect(await route(refusing)).toBe("");
  stored = null;
  expect(await route(new Media())).toBe("");
});

it("goes to the system's device while the chosen one is unplugged, and back again", async () => {
  const media = new Media();
  await route(media);
  vi.stubGlobal("document", { querySelectorAll: () => [media] });
  const abort = new AbortController();
  followOutput(abort.signal);
  const change = async (there: string[]): Promise<string> => {
    outputs = there;
    devices.dispatchEvent(new Event("devicechange"));
    await new Promise((resolve) => setTimeout(resolve));
    return media.sinkId;
  };
  expect(await change(["default"])).toBe("");
  expect(await change(["default", "headset"])).toBe("headset");
  abort.abort();
  expect(await change(["default"])).toBe("headset");
});

it("does nothing in a browser that offers no choice", async () => {
  vi.stubGlobal("HTMLMediaElement", class {});
  expect(await route(new Media())).toBe("");
});
