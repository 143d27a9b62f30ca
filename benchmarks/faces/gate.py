"""What the enhancer makes of faces by size and bitrate, and whether its gate is right: never worse than plain.

    python -m benchmarks.faces.gate CLIPS --critics WEIGHTS [--only NAMES] [--headshots 96,128,160,240]
        [--kbps 30,60,120] [--codec VP8] [--tight] [--photos] [--silent] [--always] [--references 3] [--weights NAME]
        [--sheet DIR] [--json OUT]

Each clip is reduced until its face has a headshot of so many pixels, laid into a frame of 640x360 (320x180 up to 96
px), and sent at 1 Mbit/s first, then at the low rate. The relay's own encoder, detector, bank, gate, network and
renderer work as in a call, but wait for each other, so that a busy machine gives the same figures. The plain and the
enhanced view at 1280x720 are compared with the clip itself, both as headshots of 256 px.
--tight: the frame is hardly larger than the headshot, so that all bits go to it; --photos: three photos of the clip's
first seconds, at its own resolution, are in the bank; --silent: nobody says how frames were coded, as in a file that
was encoded again; --always: what the gate would have to decide on: faces are enhanced in full whatever they have lost,
and "best" is the strength at which the error would have been least. Rows give the mean quantizer step at the low rate,
plain and gain in PSNR, LPIPS as a share of plain's, the gain in identity, and outcomes.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from hime_core.compositing.render import Renderer
from hime_core.engine import BatchingEngine, build_engine
from hime_core.evaluation.clips import clips_in
from hime_core.evaluation.metrics import Figures, Meter, mean_figures
from hime_core.evaluation.perceptual import Identity, Lpips
from hime_core.evaluation.store import write_json
from hime_core.exemplars.exemplar import Exemplar, cut_exemplar
from hime_core.faces.damage import DamageEstimator
from hime_core.faces.detector import MtcnnDetector, ScanningDetector
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer, EnhancerConfig
from hime_core.stream.gate import Gate, Verdict, lr_side
from hime_core.video.coding import CodingDecoder
from hime_core.video.picture import Picture
from server.proof.plan import Timing
from server.proof.scene import Clip, Scene, Unusable, cut, framed, moved, read_clip, stage
from server.proof.stream import Stream, encode

EVERY = 5  # frames between those that are measured
TIMING = Timing(fps=30, good=2.5, settle=0.7, measured=2.0)


@dataclass(frozen=True)
class Cell:
    """rows: of each measured frame; steps: the quantizer's at the low rate; pictures: plain, enhanced, true faces."""

    rows: list[dict[str, Figures]]
    steps: list[float]
    outcomes: Counter[str]
    pictures: list[np.ndarray]
    best: list[float] = field(default_factory=list)


class Open(Gate):
    """Lets every face pass that has exemplars."""

    def judge(self, track: int, side: int, exemplars: tuple[Exemplar, ...], *rest) -> Verdict:
        return Verdict(lr_side(side, heavy=True), 1.0) if exemplars else Verdict(None, reason="no_exemplar")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--critics", type=Path, required=True, help="folder of the weights for LPIPS and identity")
    parser.add_argument("--only", default="", help="clips whose names begin so, with commas between")
    parser.add_argument("--headshots", default="96,128,160,240")
    parser.add_argument("--kbps", default="30,60,120")
    parser.add_argument("--codec", choices=("VP8", "H264"), default="VP8")
    parser.add_argument("--tight", action="store_true")
    parser.add_argument("--photos", action="store_true")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--always", action="store_true")
    parser.add_argument("--references", type=int, default=3)
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--sheet", type=Path, help="folder for faces: plain, enhanced, truth")
    parser.add_argument("--json", type=Path)
    o = parser.parse_args()
    cv2.setNumThreads(1)
    engine, meter, found = build_engine(o.weights, "cpu"), Meter(Lpips(o.critics), Identity(o.critics)), {}
    for path in clips_in(o.clips, [name for name in o.only.split(",") if name]):
        try:
            clip = read_clip(path, TIMING)
        except Unusable as error:
            print(error)
            continue
        for side in map(int, o.headshots.split(",")):
            for kbps in map(int, o.kbps.split(",")):
                name = f"{clip.name} {side} px {kbps} kbit/s"
                try:
                    cell = measure(clip, side, kbps, engine, meter, o)
                except Unusable as error:
                    print(error)
                    continue
                found[name] = figures(cell)
                show(name, found[name])
                if o.sheet:
                    o.sheet.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.vstack(cell.pictures[::3])).save(
                        o.sheet / f"{name.replace(' ', '-').replace('/', '')}.png"
                    )
    engine.close()
    summary(found)
    if o.json:
        write_json(o.json, found)


def measure(clip: Clip, side: int, kbps: int, engine: BatchingEngine, meter: Meter, o: argparse.Namespace) -> Cell:
    """Raises Unusable."""
    width, height = (2 * round(0.6 * side),) * 2 if o.tight else (320, 180) if side <= 96 else (640, 360)
    scene = stage(clip, framed(clip, width, height, side), TIMING)
    people = People(clock=lambda: now)
    config = EnhancerConfig(patience=None, references=o.references)
    enhancer = Enhancer(
        engine,
        ScanningDetector(),
        people,
        config,
        clock=lambda: now,
        damage=DamageEstimator(),
        gate=Open() if o.always else Gate(),
    )
    for exemplar in photos_of(clip) if o.photos else ():
        people.expect("photos").bank.add_photo(exemplar)
    renderers = [Renderer(view, "upscale") for view in ("original", "enhanced")]
    cell, now = Cell([], [], Counter(), []), 0.0
    for number, frame, coding in sent(scene, encode(scene, o.codec, kbps, TIMING), o.codec):
        now = number / scene.clip.fps
        picture = Picture.from_frame(frame)
        result = enhancer.finish(enhancer.begin(picture, now, coding=None if o.silent else coding))
        if number < scene.low:
            continue
        cell.outcomes[result.outcome] += 1
        cell.steps.append(coding.step)
        face = scene.face(number)
        if face is None or number % EVERY:
            continue
        views = [renderer.render(result) for renderer in renderers]
        scale = views[0].width / picture.width
        plain, better = (cut(view.rgb(), moved(face, scale)) for view in views)
        truth = scene.truth(number, face)
        cell.rows.append(meter.measure({"plain": plain, "enhanced": better}, truth))
        added, wanted = better.astype(float) - plain, truth.astype(float) - plain
        cell.best.append(float((added * wanted).sum() / max(1.0, np.square(added).sum())))
        cell.pictures.append(np.hstack([plain, better, truth]))
    enhancer.close()
    return cell


def sent(scene: Scene, stream: Stream, codec: str):
    """(number, frame, coding) of what arrives, the lead-in left out."""
    decoder = CodingDecoder(av.CodecContext.create({"VP8": "vp8", "H264": "h264"}[codec], "r"))
    for number, data in enumerate(stream.packets):
        for frame, coding in decoder.decode(av.Packet(data)) if data else ():
            if number >= scene.lead:
                yield number, frame, coding


def photos_of(clip: Clip):
    """Three moments of the part that is sent at the good rate."""
    detector = MtcnnDetector()
    for number in np.linspace(0, clip.split - 1, 5).astype(int)[1:4]:
        rgb = clip.frames[number]
        small = min(1.0, 480 / max(rgb.shape[:2]))
        faces = detector.detect(cv2.resize(rgb, None, fx=small, fy=small, interpolation=cv2.INTER_AREA))
        if faces:
            face = max(faces, key=lambda f: f.box.height).moved(1 / small, 0, 0)
            yield cut_exemplar(rgb, face.box, face.landmarks, f"photo {number}", "photo", 0, 0.0)


def figures(cell: Cell) -> dict:
    plain, better = (mean_figures([row[name] for row in cell.rows]) for name in ("plain", "enhanced"))
    return {
        "step": float(np.mean(cell.steps)),
        "plain": plain,
        "enhanced": better,
        "psnr_gain": better["psnr"] - plain["psnr"],
        "lpips_share": better["lpips"] / plain["lpips"],
        "identity_gain": better["identity"] - plain["identity"],
        "best": float(np.mean(cell.best)),
        "outcomes": dict(cell.outcomes),
    }


def show(name: str, row: dict) -> None:
    plain = row["plain"]
    print(
        f"{name:38} step {row['step']:5.1f}  PSNR {plain['psnr']:.2f} {row['psnr_gain']:+.2f}  "
        f"LPIPS {plain['lpips']:.4f} x {row['lpips_share']:.2f}  identity {plain['identity']:.3f} "
        f"{row['identity_gain']:+.3f}  best {row['best']:.2f}  {row['outcomes']}",
        flush=True,
    )


def summary(found: dict[str, dict]) -> None:
    """The means, and the worst cells."""
    rows = list(found.values())
    if not rows:
        return
    shares = sum(r["enhanced"]["lpips"] for r in rows) / sum(r["plain"]["lpips"] for r in rows)
    print(
        f"mean of {len(rows)} cells: PSNR {np.mean([r['psnr_gain'] for r in rows]):+.2f} dB, LPIPS x {shares:.2f}, "
        f"identity {np.mean([r['identity_gain'] for r in rows]):+.4f}; worst {min(r['psnr_gain'] for r in rows):+.2f} "
        f"dB, x {max(r['lpips_share'] for r in rows):.2f}, {min(r['identity_gain'] for r in rows):+.4f}"
    )


if __name__ == "__main__":
    main()
