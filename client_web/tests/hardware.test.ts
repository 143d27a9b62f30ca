import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DeviceDialog } from "../src/hardware";
import type { Entry } from "../src/lobby";

class Track extends EventTarget {
  static made: Track[] = [];
  readyState = "live";

  constructor(readonly kind: string) {
    super();
    Track.made.push(this);
  }

  stop(): void {
    this.readyState = "ended";
  }

  unplug(): void {
    this.stop();
    this.dispatchEvent(new Event("ended"));
  }
}

const both = (): MediaStream => {
  const tracks = [new Track("audio"), new Track("video")];
  return { getTracks: () => tracks } as unknown as MediaStream;
};
const live = (): Track[] => Track.made.filter((track) => track.readyState === "live");
let opened: number;
let entry: Entry;
let changed: () => Promise<void>;
let dialog: DeviceDialog;

beforeEach(() => {
  vi.useFakeTimers();
  Track.made = [];
  opened = 0;
  const element = (): unknown =>
    Object.assign(new EventTarget(), { setAttribute() {}, append() {}, replaceChildren() {}, close() {}, remove() {} });
  vi.stubGlobal("document", { createElement: element });
  const getUserMedia = async (): Promise<MediaStream> => {
    opened += 1;
    await new Promise((resolve) => setTimeout(resolve, 100));
    return both();
  };
  vi.stubGlobal("navigator", { mediaDevices: { getUserMedia } });
  const choice = { camera: "cam", microphone: "mic", quality: "medium" };
  entry = { stream: both(), choice } as unknown as Entry;
  changed = vi.fn(async () => undefined);
  dialog = new DeviceDialog(entry, changed);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("DeviceDialog", () => {
  it("follows a webcam that takes its microphone along, once", async () => {
    for (const track of Track.made.slice()) track.unplug();
    await vi.advanceTimersByTimeAsync(1000);
    expect(opened).toBe(1);
    expect(changed).toHaveBeenCalledOnce();
    expect(live()).toEqual(entry.stream!.getTracks());
    expect(entry.choice).toMatchObject({ camera: "", microphone: "" });
  });

  it("follows what is unplugged after that, too", async () => {
    Track.made[1]!.unplug();
    await vi.advanceTimersByTimeAsync(1000);
    (entry.stream!.getTracks()[0] as unknown as Track).unplug();
    await vi.advanceTimersByTimeAsync(1000);
    expect(changed).toHaveBeenCalledTimes(2);
    expect(live()).toEqual(entry.stream!.getTracks());
  });

  it("goes on to the next device where one could not be sent", async () => {
    vi.mocked(changed).mockRejectedValueOnce(new Error("It could not be sent."));
    Track.made[1]!.unplug();
    await vi.advanceTimersByTimeAsync(1000);
    (entry.stream!.getTracks()[0] as unknown as Track).unplug();
    await vi.advanceTimersByTimeAsync(1000);
    expect(changed).toHaveBeenCalledTimes(2);
    expect(live()).toEqual(entry.stream!.getTracks());
  });

  it("leaves nothing on where the call ends meanwhile", async () => {
    Track.made[1]!.unplug();
    await vi.advanceTimersByTimeAsync(50);
    dialog.close();
    await vi.advanceTimersByTimeAsync(1000);
    expect(opened).toBe(1);
    expect(live()).toEqual([]);
    expect(changed).not.toHaveBeenCalled();
  });
});
