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
      return "The browser may not use the camera and the microphone. Allow both beside the address bar, then try again.";
    case "NotFoundError":
      return "No camera or no microphone was found. Plug one in, then try again.";
    case "NotReadableError":
      return "The camera or the microphone is used by another program. Close it, then try again.";
    case "OverconstrainedError":
      return "The chosen device is gone. Choose another.";
    default:
      return `Camera and microphone cannot be opened${error instanceof Error && error.message ? `: ${error.message}` : "."}`;
  }
}

export async function openMedia(choice: DeviceChoice): Promise<MediaStream> {
  // browsers hide mediaDevices on pages that came over plain http from elsewhere
  if (!navigator.mediaDevices) throw new Error("this page must come over https, or from localhost");
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
