"""What references are worth on real clips: the paper's Table 5 through the relay's own path.

    python benchmarks/references_on_clips.py CLIPS_DIR [--weights NAME] [--gaps 30,120] [--lr 32] [--json OUT.json]

Every 30th frame with a face is a target: its headshot is the truth at (scale x L)^2 by BOX, the network gets Pillow's
BICUBIC of it at L^2. References are the same clip's frames `gap` before and after, cut, laid over and registered as in
a call. Figures are PSNR over all targets that have references at every gap, and the mean over clips.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image
from rich.progress import track

from hime_core.bank import Exemplar, cut_exemplar
from hime_core.engine import BatchingEngine, FaceRequest, build_engine
from hime_core.evaluation.metrics import psnr
from hime_core.faces.detector import Detection, MtcnnDetector
from hime_core.faces.geometry import crop, headshot_of
from hime_core.model.checkpoint import DEFAULT_WEIGHTS

TARGET_EVERY = 30
MAX_TARGETS = 12


def faces_of(path: Path, detector: MtcnnDetector, wanted: set[int]) -> dict[int, tuple[np.ndarray, Detection]]:
    """The wanted frames that show a face, with the largest one."""
    found = {}
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index > max(wanted):
                break
            if index not in wanted:
                continue
            rgb = frame.to_ndarray(format="rgb24")
            scale = min(1.0, 480 / max(rgb.shape[:2]))
            small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            faces = detector.detect(small, min_face=40)
            if faces:
                largest = max(faces, key=lambda f: f.box.height)
                found[index] = (rgb, largest.moved(rgb.shape[1] / small.shape[1], 0, 0))
    return found


def target_of(rgb: np.ndarray, face: Detection, lr_side: int, scale: int):
    """Truth (sL, sL, 3), LR (L, L, 3), landmarks in LR px; None where the face is smaller than the truth."""
    headshot = headshot_of(face.box)
    side = round(headshot.side)
    if side < scale * lr_side:
        return None
    x, y = round(headshot.cx - side / 2), round(headshot.cy - side / 2)
    hr = Image.fromarray(crop(rgb, x, y, side)).resize((scale * lr_side, scale * lr_side), Image.Resampling.BOX)
    lr = hr.resize((lr_side, lr_side), Image.Resampling.BICUBIC)
    landmarks = (face.landmarks - (x, y) + 0.5) * (lr_side / side) - 0.5
    return np.asarray(hr), np.asarray(lr), landmarks.astype(np.float32)


def exemplar_of(rgb: np.ndarray, face: Detection, index: int) -> Exemplar:
    return cut_exemplar(rgb, face.box, face.landmarks, str(index), "call", index, 0.0)


def measure(path: Path, engine: BatchingEngine, detector: MtcnnDetector, gaps: list[int], lr_side: int) -> list[dict]:
    with av.open(str(path)) as container:
        length = sum(1 for _ in container.demux(video=0))
    targets = list(range(0, length, TARGET_EVERY))[:MAX_TARGETS]
    wanted = {i for t in targets for i in (t, *(t + s * g for g in gaps for s in (-1, 1))) if 0 <= i < length}
    faces = faces_of(path, detector, wanted) if wanted else {}
    rows = []
    for t in targets:
        near = {g: [i for i in (t - g, t + g) if i in faces] for g in gaps}
        made = target_of(*faces[t], lr_side, engine.scale) if t in faces and all(near.values()) else None
        if made is None:
            continue
        hr, lr, landmarks = made
        plain = np.asarray(Image.fromarray(lr).resize(hr.shape[:2], Image.Resampling.BICUBIC))
        row = {"bicubic": psnr(plain, hr)}
        settings = {"blank": ()} | {str(g): tuple(exemplar_of(*faces[i], i) for i in near[g]) for g in gaps}
        for name, exemplars in settings.items():
            engine._cutter.forget(str(i) for i in wanted)
            row[name] = psnr(engine.enhance([FaceRequest(lr, landmarks, exemplars)])[0], hr)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--gaps", default="30,120")
    parser.add_argument("--lr", type=int, default=32)
    parser.add_argument("--only", help="clips whose names begin so, with commas between")
    parser.add_argument("--landmarks-only", action="store_true", help="leave the flow out: what it is worth")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    gaps = [int(g) for g in options.gaps.split(",")]
    engine, detector = build_engine(options.weights), MtcnnDetector()
    if options.landmarks_only:
        engine._cutter._register = lambda reference, lr: reference
    clips = sorted(p for p in options.clips.iterdir() if p.suffix in (".mp4", ".mov", ".mkv"))
    if options.only:
        clips = [p for p in clips if p.name.startswith(tuple(options.only.split(",")))]
    results = {}
    for path in track(clips, description="clips", transient=True):
        rows = measure(path, engine, detector, gaps, options.lr)
        if rows:
            results[path.stem] = {k: float(np.mean([r[k] for r in rows])) for k in rows[0]} | {"targets": len(rows)}
    engine.close()
    keys = ["bicubic", "blank", *map(str, gaps)]
    results["mean over clips"] = {k: float(np.mean([r[k] for r in results.values()])) for k in keys}
    print(f"{'':24}{'targets':>8}" + "".join(f"{k:>9}" for k in keys) + "".join(f"  {g} over blank" for g in gaps))
    for name, row in results.items():
        figures = "".join(f"{row[k]:9.2f}" for k in keys)
        over = "".join(f"{row[str(g)] - row['blank']:+{12 + len(str(g))}.2f}" for g in gaps)
        print(f"{name:24}{row.get('targets', ''):>8}{figures}{over}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
