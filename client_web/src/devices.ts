import { t } from "./strings";

export const QUALITIES = {
  low: { width: 320, height: 180, text: "180p" },
  medium: { width: 640, height: 360, text: "360p" },
  high: { width: 1280, height: 720, text: "720p" },
} as const;
export type Quality = keyof typeof QUALITIES;

export interface DeviceChoice {
  camera: string;
  microphone: string;
  quality: Quality;
}

export function constraints(choice: DeviceChoice): MediaStreamConstraints {
  const { width, height } = QUALITIES[choice.quality];
  const device = (id: string): { deviceId?: ConstrainDOMString } => (id ? { deviceId: { exact: id } } : {});
  return {
    video: {
      ...device(choice.camera),
      width: { ideal: width },
      height: { ideal: height },
      aspectRatio: { ideal: 16 / 9 },
      frameRate: { ideal: 20, max: 30 },
    },
    audio: { ...device(choice.microphone), echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  };
}

/** Why camera and microphone cannot be used, in words. */
export function mediaProblem(error: unknown): string {
  const name = error instanceof Error ? error.name : "";
  switch (name) {
    case "NotAllowedError":
      return t.media.denied;
    case "NotFoundError":
      return t.media.missing;
    case "NotReadableError":
      return t.media.busy;
    case "OverconstrainedError":
      return t.media.gone;
    default:
      return t.media.failed(error instanceof Error ? error.message : "");
  }
}

export async function openMedia(choice: DeviceChoice): Promise<MediaStream> {
  // browsers hide mediaDevices on pages that came over plain http from elsewhere
  if (!navigator.mediaDevices) throw new Error(t.media.insecure);
  try {
    return await navigator.mediaDevices.getUserMedia(constraints(choice));
  } catch (error) {
    // a device id of yesterday: take what there is
    if ((choice.camera || choice.microphone) && (error as Error).name === "OverconstrainedError") {
      return navigator.mediaDevices.getUserMedia(constraints({ ...choice, camera: "", microphone: "" }));
    }
    throw error;
  }
}

export function stopMedia(stream: MediaStream | null): void {
  stream?.getTracks().forEach((track) => track.stop());
}
