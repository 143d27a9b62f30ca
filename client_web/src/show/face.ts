import { clamp } from "../slider";
import track from "./face.json";

/** A square of the picture: its centre and its side, as fractions of the picture's width. */
export interface Spot {
  x: number;
  y: number;
  side: number;
}

/** Where the face is at that time of the video, in seconds. */
export function faceAt(seconds: number): Spot {
  const at = clamp(seconds * track.fps, 0, track.faces.length - 1);
  const before = track.faces[Math.floor(at)]!;
  const after = track.faces[Math.ceil(at)]!;
  const mixed = before.map((value, index) => value + (after[index]! - value) * (at % 1));
  return { x: mixed[0]!, y: mixed[1]!, side: mixed[2]! };
}
