"""Checkpoints side by side on faces that came through a narrow uplink: 320x180 at 100 kbit/s.

    python -m benchmarks.network.call_checkpoints CLIPS --only close_d0,close_d10 [--weights A,B]
        [--critics DIR] [--json OUT]

Each clip is reduced until its headshot has --lr pixels, laid into a frame of 320x180, sent through libvpx at --rate and
decoded. From the second second on, every 10th frame's headshot is enhanced with three earlier moments of the clip as
exemplars, laid over as in a call. DIR holds the weights that LPIPS and the identity need (`hime evaluate --help`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image
from rich.progress import track

from hime_core.data.codec import Codec
from hime_core.engine import FaceRequest
from hime_core.evaluation.clips import clips_in
from hime_core.evaluation.evaluate import infer
from hime_core.evaluation.metrics import Figures, Meter, mean_figures
from hime_core.evaluation.perceptual import Identity, Lpips
from hime_core.evaluation.store import write_json
from hime_core.exemplars.exemplar import Exemplar, cut_exemplar
from hime_core.exemplars.references import ReferenceCutter
from hime_core.faces.detector import Detection, MtcnnDetector
from hime_core.faces.geometry import Headshot, headshot_of
from hime_core.model.hime import Hime
from hime_core.video.picture import Picture

WIDTH, HEIGHT = 320, 180
FRAMES, FIRST, EVERY = 240, 60, 20
BEFORE = (30, 45, 60)  # frames between a target and its exemplars


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--only", default="", help="clips whose names begin so, with commas between")
    parser.add_argument("--weights", default="small-x4-rec,small-x4-call")
    parser.add_argument("--critics", type=Path, help="folder of the weights for LPIPS and identity")
    parser.add_argument("--lr", type=int, default=32)
    parser.add_argument("--rate", type=int, default=100_000)
    parser.add_argument("--pictures", type=Path, help="folder for a sheet per clip")
    parser.add_argument("--json", type=Path)
    o = parser.parse_args()
    cv2.setNumThreads(1)
    meter = Meter(Lpips(o.critics), Identity(o.critics)) if o.critics else Meter()
    models = {name: Hime.from_pretrained(name) for name in o.weights.split(",")}
    detector, rows, results = MtcnnDetector(), [], {}
    for path in track(clips_in(o.clips, [n for n in o.only.split(",") if n]), description="clips", transient=True):
        found = list(measure(path, detector, models, meter, o))
        if found:
            results[path.stem] = {name: mean_figures([row[name] for row in found]) for name in found[0]}
            rows += found
    results["all"] = {name: mean_figures([row[name] for row in rows]) for name in rows[0]}
    for clip, figures in results.items():
        for name, row in figures.items():
            print(f"{clip:16}{name:20}" + "".join(f" {k} {v:.4f}" for k, v in row.items() if v is not None))
    if o.json:
        write_json(o.json, results)


def measure(
    path: Path, detector: MtcnnDetector, models: dict[str, Hime], meter: Meter, o: argparse.Namespace
) -> Iterator[dict[str, Figures]]:
    """Figures of every target, by the name of the picture."""
    frames = read(path)
    first = face(frames[0], detector) if frames else None
    if first is None:
        return
    headshot = headshot_of(first.box)
    camera = Camera(headshot, o.lr, frames[0].shape)
    received = send([camera.frame(frame) for frame in frames], o.rate)
    sheet = []
    for index in range(FIRST, len(frames), EVERY):
        found = face(frames[index], detector)
        if found is None:
            continue
        earlier = {i: face(frames[i], detector) for i in (index - b for b in BEFORE)}
        exemplars = tuple(_exemplar(frames[i], f, i) for i, f in earlier.items() if f)
        x, y = camera.corner(headshot_of(found.box))
        if not (0 <= x <= WIDTH - o.lr and 0 <= y <= HEIGHT - o.lr):
            continue
        lr = np.ascontiguousarray(received[index][y : y + o.lr, x : x + o.lr])
        side = 4 * o.lr
        truth = camera.truth(frames[index], x, y, side)
        request = FaceRequest(lr, camera.landmarks(found.landmarks) - np.float32((x, y)), exemplars)
        references = ReferenceCutter(4).references(request)
        plain = np.asarray(Image.fromarray(lr).resize((side, side), Image.Resampling.BICUBIC))
        pictures = {"bicubic": plain, **{name: infer(model, lr, references) for name, model in models.items()}}
        sheet.append(np.hstack([*pictures.values(), truth]))
        yield meter.measure(pictures, truth)
    if o.pictures and sheet:
        o.pictures.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.vstack(sheet[:4])).save(o.pictures / f"{path.stem}.png")


class Camera:
    """A camera far away: the clip brought to where a headshot has `lr` pixels, in the middle of a frame of `size`."""

    def __init__(
        self, headshot: Headshot, lr: int, shape: tuple[int, ...], size: tuple[int, int] = (WIDTH, HEIGHT)
    ) -> None:
        self._lr, self._frame = lr, size
        self._size = tuple(round(length * lr / headshot.side) for length in (shape[1], shape[0]))
        self._scale = np.array([self._size[0] / shape[1], self._size[1] / shape[0]])
        centre = np.array([headshot.cx + 0.5, headshot.cy + 0.5]) * self._scale
        self._shift = np.round(np.array(size) / 2 - centre).astype(int)

    def frame(self, rgb: np.ndarray) -> np.ndarray:
        method = cv2.INTER_AREA if self._size[0] <= rgb.shape[1] else cv2.INTER_CUBIC
        small = cv2.resize(rgb, self._size, interpolation=method)
        shift = np.float32([[1, 0, self._shift[0]], [0, 1, self._shift[1]]])
        return cv2.warpAffine(small, shift, self._frame, borderMode=cv2.BORDER_REPLICATE)

    def landmarks(self, points: np.ndarray) -> np.ndarray:
        return ((points + 0.5) * self._scale - 0.5 + self._shift).astype(np.float32)

    def detection(self, found: Detection) -> Detection:
        return found.moved(float(self._scale.mean()), *self._shift.astype(float).tolist())

    def corner(self, headshot: Headshot) -> tuple[int, int]:
        centre = np.array([headshot.cx + 0.5, headshot.cy + 0.5]) * self._scale + self._shift
        x, y = np.round(centre - self._lr / 2).astype(int)
        return int(x), int(y)

    def truth(self, rgb: np.ndarray, x: int, y: int, side: int) -> np.ndarray:
        """What the clip shows where the far frame shows the square at (x, y), uint8 (side, side, 3)."""
        corners = [(np.array([x, y]) + d - self._shift) / self._scale for d in (0, self._lr)]
        left, top, right, bottom = (float(v) for c in corners for v in c)
        border = round(right - left)
        padded = cv2.copyMakeBorder(rgb, border, border, border, border, cv2.BORDER_REPLICATE)
        box = (left + border, top + border, right + border, bottom + border)
        kernel = Image.Resampling.BOX if right - left >= side else Image.Resampling.BICUBIC
        return np.asarray(Image.fromarray(padded).resize((side, side), kernel, box=box))


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        frames = []
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == FRAMES:
                break
        return frames


def face(rgb: np.ndarray, detector: MtcnnDetector) -> Detection | None:
    scale = min(1.0, 480 / max(rgb.shape[:2]))
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    faces = detector.detect(small, min_face=40)
    return max(faces, key=lambda f: f.box.height).moved(rgb.shape[1] / small.shape[1], 0, 0) if faces else None


def send(frames: list[np.ndarray], rate: int, codec: Codec = "vp8") -> list[np.ndarray]:
    """RGB of the frames as they arrive, 30 a second, at a bitrate in bit/s."""
    context = av.CodecContext.create({"vp8": "libvpx", "h264": "libx264"}[codec], "w")
    context.height, context.width = frames[0].shape[:2]
    context.pix_fmt, context.bit_rate, context.gop_size, context.thread_count = "yuv420p", rate, 3000, 1
    context.time_base, context.framerate = Fraction(1, 30), Fraction(30)
    options = {"maxrate": rate, "bufsize": rate}
    if codec == "vp8":
        options |= {"minrate": rate, "qmin": 2, "qmax": 56, "deadline": "realtime", "cpu-used": -6, "lag-in-frames": 0}
    else:
        options |= {"preset": "veryfast", "tune": "zerolatency", "profile": "baseline"}
    context.options = {name: str(value) for name, value in options.items()}
    decoder, received = av.CodecContext.create(codec, "r"), []
    for number, rgb in enumerate(frames):
        frame = Picture.from_rgb(rgb).to_frame()
        frame.pts, frame.time_base = number, Fraction(1, 30)
        for packet in context.encode(frame):
            received += decoder.decode(packet)
    received += decoder.decode(None)
    return [Picture.from_frame(frame).rgb() for frame in received]


def _exemplar(rgb: np.ndarray, found: Detection, index: int) -> Exemplar:
    return cut_exemplar(rgb, found.box, found.landmarks, str(index), "call", index, 0.0)


if __name__ == "__main__":
    main()
