const QUALITY = 0.95;

/** The camera's picture of this moment, as a JPEG; null where the camera is off. */
export async function snapshot(stream: MediaStream | null, name: string): Promise<File | null> {
  const track = stream?.getVideoTracks().find(({ readyState, enabled }) => readyState === "live" && enabled);
  if (!track) return null;
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.srcObject = new MediaStream([track]);
  await video.play();
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  video.srcObject = null;
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  return blob && new File([blob], `${name}.jpg`, { type: blob.type });
}
