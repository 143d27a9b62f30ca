const WIDTH = 16;
const HEIGHT = 9;
/** Brightest value of a black picture once a codec has been at it. */
const BLACK = 16;

let canvas: HTMLCanvasElement | null = null;

/** Whether a video shows nothing but black, as browsers send it for a camera that is turned off. */
export function isBlack(video: HTMLVideoElement): boolean {
  if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || !video.videoWidth) return false;
  canvas ??= Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  if (!context) return false;
  context.drawImage(video, 0, 0, WIDTH, HEIGHT);
  const { data } = context.getImageData(0, 0, WIDTH, HEIGHT);
  return data.every((value, at) => at % 4 === 3 || value < BLACK);
}
