"""Faces of 96 to 240 pixels that a codec has damaged, plain and enhanced, by checkpoint and LR side.

    python -m benchmarks.network.damaged_faces CLIPS --critics WEIGHTS [--weights A,B]
        [--only close_d10,...] [--json OUT]

Each clip is brought to where its headshot has as many pixels as a cell says and laid into a frame of 640x360 (320x180
for headshots of at most 96). The frames go through libvpx or libx264 twice: at a good rate, which the exemplars are cut
from, and at the cell's. In the second half of the clip (from the fourth second on, where it is longer) some frames'
headshots are cut from the damaged stream, reduced by area to each LR side, and enhanced with three exemplars of 2 to 4
seconds before and with none (a black reference, as at runtime). Answer, plain picture (bicubic) and truth are compared
at 256 px. The truth is what the sender's camera saw before the codec; with --truth clip it is the clip's own picture,
which has more pixels than the exemplars. A clip whose own headshot is smaller than a cell's is enlarged.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.progress import track

from benchmarks.network.call_checkpoints import Camera, face, read, send
from hime_core.engine import FaceRequest
from hime_core.evaluation.clips import clips_in
from hime_core.evaluation.evaluate import infer
from hime_core.evaluation.metrics import Figures, Meter, mean_figures
from hime_core.evaluation.perceptual import Identity, Lpips
from hime_core.evaluation.store import write_json
from hime_core.exemplars.bank import cut_exemplar
from hime_core.exemplars.references import ReferenceCutter
from hime_core.faces.detector import MtcnnDetector
from hime_core.faces.geometry import headshot_of
from hime_core.model.hime import Hime

SIDE = 256  # at which pictures are compared
SMALL, LARGE = (320, 180), (640, 360)
GOOD = 1_500_000  # bit/s that exemplars came at
WARM_UP, BEFORE = 120, (0.5, 0.75, 1.0)  # frames before the first target; exemplars' distance to it, in shares of that
SHOWN = ("psnr", "lpips", "identity")
Cell = tuple[int, int, int]  # headshot's side, kbit/s, LR side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--only", default="", help="clips whose names begin so, with commas between")
    parser.add_argument("--weights", default="tiny-x4-call,small-x4-call")
    parser.add_argument("--critics", type=Path, required=True, help="folder of the weights for LPIPS and identity")
    parser.add_argument("--headshots", type=_numbers, default=(96, 128, 160, 240))
    parser.add_argument("--kbps", type=_numbers, default=(30, 60, 120))
    parser.add_argument("--lr", type=_numbers, default=(32, 48, 64, 96))
    parser.add_argument("--codec", choices=("vp8", "h264"), default="vp8")
    parser.add_argument("--truth", choices=("sent", "clip"), default="sent")
    parser.add_argument("--targets", type=int, default=4, help="frames measured of a clip")
    parser.add_argument("--json", type=Path, help="all means by cell and clip")
    o = parser.parse_args()
    cv2.setNumThreads(1)
    meter = Meter(Lpips(o.critics), Identity(o.critics))
    models = {name: Hime.from_pretrained(name) for name in o.weights.split(",")}
    rows: dict[Cell, dict[str, list[dict[str, Figures]]]] = defaultdict(lambda: defaultdict(list))
    for path in track(clips_in(o.clips, [n for n in o.only.split(",") if n]), description="clips", transient=True):
        for cell, row in measure(path, models, meter, o):
            rows[cell][path.stem].append(row)
    if not rows:
        parser.error(f"{o.clips} holds no clip with a face that stays in the picture")
    _print(rows)
    if o.json:
        write_json(
            o.json,
            {
                "-".join(map(str, cell)): {clip: _means(found) for clip, found in clips.items()}
                for cell, clips in rows.items()
            },
        )


def measure(
    path: Path, models: dict[str, Hime], meter: Meter, o: argparse.Namespace
) -> Iterator[tuple[Cell, dict[str, Figures]]]:
    """Figures of every target in every cell, by the name of the picture."""
    frames, detector = read(path), MtcnnDetector()
    found = lru_cache(None)(lambda index: face(frames[index], detector))
    if len(frames) < 16 or found(0) is None:
        return
    start = min(WARM_UP, len(frames) // 2)
    targets = np.linspace(start, len(frames) - 1, o.targets).astype(int).tolist()
    headshot = headshot_of(found(0).box)
    cutter = ReferenceCutter(4)
    for native in o.headshots:
        size = SMALL if native <= 96 else LARGE
        camera = Camera(headshot, native, frames[0].shape, size)
        seen = [camera.frame(frame) for frame in frames]
        good = send(seen, GOOD, o.codec)

        exemplars = {}
        for index in {target - round(b * start) for target in targets for b in BEFORE}:
            if here := found(index):
                here = camera.detection(here)
                exemplars[index] = cut_exemplar(good[index], here.box, here.landmarks, str(index), "call", index, 0.0)
        for kbps in o.kbps:
            received = send(seen, 1000 * kbps, o.codec)
            for index in targets:
                if found(index) is None:
                    continue
                x, y = camera.corner(headshot_of(found(index).box))
                if not (0 <= x <= size[0] - native and 0 <= y <= size[1] - native):
                    continue
                damaged = np.ascontiguousarray(received[index][y : y + native, x : x + native])
                if o.truth == "sent":
                    truth = _at(np.ascontiguousarray(seen[index][y : y + native, x : x + native]), SIDE)
                else:
                    truth = camera.truth(frames[index], x, y, SIDE)
                points = camera.landmarks(found(index).landmarks) - np.float32((x, y))
                chosen = tuple(exemplars[i] for b in BEFORE if (i := index - round(b * start)) in exemplars)
                for lr in (side for side in o.lr if side <= native):
                    small = cv2.resize(damaged, (lr, lr), interpolation=cv2.INTER_AREA)
                    landmarks = ((points + 0.5) * (lr / native) - 0.5).astype(np.float32)
                    pictures = {"plain": _at(damaged, SIDE)}
                    for count, given in ((0, ()), (3, chosen)):
                        references = cutter.references(FaceRequest(small, landmarks, given))
                        for name, model in models.items():
                            answer = infer(model, small, references)
                            pictures[f"{name} {count} refs"] = _at(answer, SIDE)
                    yield (native, kbps, lr), meter.measure(pictures, truth)


def _at(rgb: np.ndarray, side: int) -> np.ndarray:
    """A picture at the size it is compared in: reduced by area, enlarged by bicubic."""
    if rgb.shape[0] > side:
        return cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BICUBIC))


def _print(rows: dict[Cell, dict[str, list[dict[str, Figures]]]]) -> None:
    """Of each cell the mean over clips, as it is and against plain; then the means over cells by LR side, and over the
    cells at the LR side that is best in LPIPS there; worse: cells of one clip that are worse than plain in any."""
    cells = {cell: {clip: _means(found) for clip, found in clips.items()} for cell, clips in sorted(rows.items())}
    names = list(next(iter(next(iter(cells.values())).values())))
    print("headshot kbit/s LR   " + " ".join(f"{name[-34:]:>34}" for name in names))
    for cell, clips in cells.items():
        print(f"{cell[0]:8} {cell[1]:6} {cell[2]:2}   " + _line(list(clips.values()), names))
    for lr in sorted({cell[2] for cell in cells}):
        some = [row for cell, clips in cells.items() if cell[2] == lr for row in clips.values()]
        print(f"mean at LR {lr:2}          " + _line(some, names))
    for name in names[1:]:
        best = []
        for place in sorted({cell[:2] for cell in cells}):
            sides = [list(clips.values()) for cell, clips in cells.items() if cell[:2] == place]
            best += min(sides, key=lambda side: _mean(side, name, "lpips"))
        bad = [r for r in best if _worse(r[name], r["plain"])]
        print(f"at each place's best LR: {_line(best, ['plain', name])}   worse in {len(bad)} of {len(best)}")


def _line(rows: list[dict[str, Figures]], names: list[str]) -> str:
    plain = [_mean(rows, "plain", figure) for figure in SHOWN]
    parts = []
    for name in names:
        p, d, i = (_mean(rows, name, figure) for figure in SHOWN)
        if name == "plain":
            parts.append(f"{p:6.2f} dB {d:.3f} {i:.3f}".rjust(34))
        else:
            parts.append(f"{p - plain[0]:+6.2f} dB {d:.3f} x{d / plain[1]:.2f} {i - plain[2]:+.3f}".rjust(34))
    return " ".join(parts)


def _worse(a: Figures, plain: Figures) -> bool:
    """By 0.1 dB, 0.005 of LPIPS or of identity."""
    return bool(
        a["psnr"] < plain["psnr"] - 0.1
        or a["lpips"] > plain["lpips"] + 0.005
        or a["identity"] < plain["identity"] - 0.005
    )


def _means(rows: list[dict[str, Figures]]) -> dict[str, Figures]:
    return {name: mean_figures([row[name] for row in rows]) for name in rows[0]}


def _mean(rows: list[dict[str, Figures]], name: str, figure: str) -> float:
    return float(np.mean([row[name][figure] for row in rows]))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
