"""Temporal flicker of the enhanced view against the plainly enlarged one, and the gain kept of a single frame's.

    python -m benchmarks.faces.flicker CLIPS_DIR [--clips NAMES] [--frames 60] [--codec none|vp8] [--bitrate 200000]
        [--json OUT.json] [--pictures DIR]

Each clip plays in a 320x180 call: the person close at first (headshot 150 px, turned, relit, noisy), then far (31 px),
shown at 1280x720. Over the far frames, in the face: PSNR against the sharp clip, and the warp error, which is the mean
absolute difference in luma between a frame and the one before it brought to it by optical flow of the sharp clip,
where that flow is consistent both ways. Rows: `single`, every frame enhanced by itself; `all`, every frame with the
temporal filter; `half` and `quarter`, the engine answers every second or fourth frame and detail is carried over the
others.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from concurrent.futures import Future
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.shared.people import person_of
from benchmarks.shared.portrait import CLOSE_FRAMES, FPS, WALK_FRAMES, Person, Portrait, face_region, truth
from hime_core.compositing.render import Renderer
from hime_core.engine import BatchingEngine, FaceRequest, Overload, build_engine
from hime_core.evaluation.metrics import psnr
from hime_core.evaluation.warp import Flow, warp_error
from hime_core.faces.detector import MtcnnDetector, ScanningDetector
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer, EnhancerConfig
from hime_core.video.picture import Picture

FIRST = CLOSE_FRAMES - 35  # enough of the person close to fill a bank
SETTLED = CLOSE_FRAMES + WALK_FRAMES + 10
WINDOW = np.s_[240:620, 460:840]  # of the 1280x720 view: where the far face is, and what flow needs around it


class EveryNth:
    """An engine that answers one frame of several."""

    def __init__(self, engine: BatchingEngine, several: int) -> None:
        self._engine, self.scale, self._several, self._count = engine, engine.scale, several, 0

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future]:
        self._count += 1
        if self._count % self._several == 1:
            return self._engine.submit(requests)
        futures: list[Future] = [Future() for _ in requests]
        for future in futures:
            future.set_exception(Overload("it is not this frame's turn"))
        return futures

    def forget(self, exemplar_ids) -> None:
        self._engine.forget(exemplar_ids)

    def close(self) -> None: ...


def through_vp8(pictures: list[Picture], bitrate: int) -> list[Picture]:
    """As a receiver decodes them, sent in real time at a bitrate."""
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.bit_rate = Fraction(1, FPS), Fraction(FPS), bitrate
    encoder.options = {"deadline": "realtime", "cpu-used": "4", "lag-in-frames": "0", "g": "3000"}
    decoder = av.CodecContext.create("vp8", "r")
    decoded = []
    for number, picture in enumerate(pictures):
        frame = picture.to_frame()
        frame.pts, frame.time_base = number, encoder.time_base
        for packet in encoder.encode(frame):
            decoded += [Picture.from_frame(f) for f in decoder.decode(packet)]
    for packet in encoder.encode(None):
        decoded += [Picture.from_frame(f) for f in decoder.decode(packet)]
    return decoded


def views(engine, config: EnhancerConfig, shown: list[Picture]) -> dict[str, list[np.ndarray]]:
    """RGB windows of the plain and the enhanced view, frame by frame; outcomes counted."""
    now = [0.0]
    enhancer = Enhancer(
        engine, ScanningDetector(MtcnnDetector()), People(clock=lambda: now[0]), config, clock=lambda: now[0]
    )
    renderers = {name: Renderer(name, "upscale") for name in ("original", "enhanced")}
    found: dict[str, list] = {name: [] for name in (*renderers, "outcomes")}
    for number, picture in enumerate(shown):
        now[0] = number / FPS
        result = enhancer.finish(enhancer.begin(picture, now[0]))
        found["outcomes"].append(result.outcome)
        for name, renderer in renderers.items():
            keep = FIRST + number >= SETTLED
            found[name].append(renderer.render(result).rgb()[WINDOW].copy() if keep else None)
    enhancer.close()
    return found


def inside(number: int) -> tuple[slice, slice]:
    """The face, in pixels of the window."""
    return tuple(
        slice(part.start - origin.start, part.stop - origin.start)
        for part, origin in zip(face_region(number), WINDOW, strict=True)
    )


def measure(person: Person, engine, frames: int, bitrate: int | None, pictures: Path | None) -> dict[str, dict]:
    last = SETTLED + frames
    camera = Portrait(frames=1, person=person)
    shown = [Picture.from_rgb(camera.shown(n)) for n in range(FIRST, last)]
    if bitrate:
        shown = through_vp8(shown, bitrate)
    numbers = range(SETTLED, last)
    wanted = [truth(n, person=person)[WINDOW] for n in numbers]
    gray = [cv2.cvtColor(w, cv2.COLOR_RGB2GRAY) for w in wanted]
    flow = Flow()
    moves = [flow.between(a, b) for a, b in pairwise(gray)]
    runs = {
        "single": views(engine, EnhancerConfig(patience=None, steadiness=0.0), shown),
        "all": views(engine, EnhancerConfig(patience=None), shown),
        "half": views(EveryNth(engine, 2), EnhancerConfig(patience=None), shown),
        "quarter": views(EveryNth(engine, 4), EnhancerConfig(patience=None), shown),
    }
    sequences = {"truth": wanted, "bicubic": runs["all"]["original"][-frames:]}
    sequences |= {name: run["enhanced"][-frames:] for name, run in runs.items()}
    rows = {}
    for name, sequence in sequences.items():
        errors, fits = [], []
        for i, n in enumerate(numbers):
            fits.append(psnr(sequence[i][inside(n)], wanted[i][inside(n)]) if name != "truth" else np.inf)
            if i:
                maps, mask = moves[i - 1]
                face = np.zeros_like(mask)
                face[inside(n)] = True
                errors.append(warp_error(sequence[i - 1], sequence[i], maps, mask & face))
        rows[name] = {"warp": float(np.mean(errors)), "psnr": float(np.mean(fits))}
    plain = rows["bicubic"]
    for name, run in runs.items():
        row = rows[name]
        row["ratio"], row["gain"] = row["warp"] / plain["warp"], row["psnr"] - plain["psnr"]
        row["kept"] = row["gain"] / (rows["single"]["gain"] or math.nan)  # nothing was enhanced
        row["enhanced"] = run["outcomes"][-frames:].count("enhanced") / frames
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
        parts = [sequences[name][-1][inside(last - 1)] for name in ("bicubic", *runs, "truth")]
        large = cv2.resize(np.hstack(parts), None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(pictures / "last.png"), large[..., ::-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS_DIR")
    parser.add_argument("--clips", help="names to begin with, with commas between [default: all]")
    parser.add_argument("--frames", type=int, default=60, help="far frames that are measured")
    parser.add_argument("--codec", choices=("none", "vp8"), default="none")
    parser.add_argument("--bitrate", type=int, default=200_000)
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for the last frame in each row, and the truth")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    engine, detector, results = build_engine(options.weights, "cpu"), MtcnnDetector(), {}
    for path in sorted(p for p in options.folder.iterdir() if p.suffix in (".mp4", ".mov", ".mkv")):
        if options.clips and not path.name.startswith(tuple(options.clips.split(","))):
            continue
        person = person_of(path, detector)
        if person is None:
            continue
        bitrate = options.bitrate if options.codec == "vp8" else None
        rows = results[path.stem] = measure(
            person, engine, options.frames, bitrate, options.pictures and options.pictures / path.stem
        )
        show(path.stem, rows)
    engine.close()
    if not results:
        parser.error(f"{options.folder} has no clip that shows a face large enough")
    names = ("truth", "bicubic", "single", "all", "half", "quarter")
    mean = {n: {k: float(np.mean([r[n][k] for r in results.values()])) for k in next(iter(results.values()))[n]}
            for n in names}  # fmt: skip
    for name in names[2:]:  # ratios of means, not means of ratios
        mean[name]["ratio"] = mean[name]["warp"] / mean["bicubic"]["warp"]
        mean[name]["kept"] = mean[name]["gain"] / mean["single"]["gain"]
    show(f"mean over {len(results)} clips", mean)
    if options.json:
        options.json.write_text(json.dumps({**results, "mean": mean}, indent=1) + "\n")


def show(title: str, rows: dict[str, dict]) -> None:
    print(title)
    print(f"  truth    warp {rows['truth']['warp']:5.2f}")
    print(f"  bicubic  warp {rows['bicubic']['warp']:5.2f}              {rows['bicubic']['psnr']:6.2f} dB")
    for name in ("single", "all", "half", "quarter"):
        row = rows[name]
        print(
            f"  {name:8} warp {row['warp']:5.2f} ({row['ratio']:.2f} x)  {row['psnr']:6.2f} dB, "
            f"gain {row['gain']:+.2f} dB ({100 * row['kept']:.0f} % kept), {100 * row['enhanced']:.0f} % enhanced",
            flush=True,
        )


if __name__ == "__main__":
    main()
