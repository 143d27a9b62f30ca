"""How far the tracker's flow errs from one frame to the next, and what it costs.

    python -m benchmarks.faces.tracking CLIPS_DIR [--moves 6] [--step 0.03] [--json OUT.json]

The face of each clip's first frame is laid into two 320x240 frames at headshots of 28, 60 and 130 px, as far as the
clip has the pixels, and between them is turned by about a degree, grown by 1.5 % and shifted by --step of its side
(standard deviations), with noise of two grey levels. rms, p95: of the error of the box's corners, percent of the
headshot's side; lost: no flow was found; ms of processor time. Steps of 0.25 are as large as a dropped frame's.
What the tracker is worth in a call is told by benchmarks/faces/flicker.py as well, whose faces are enhanced by it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hime_core.evaluation.clips import clips_in, faces_of
from hime_core.faces.detector import MtcnnDetector
from hime_core.faces.geometry import SIDE_PER_BOX_HEIGHT, Box, Headshot, headshot_of
from hime_core.faces.registration import luma
from hime_core.faces.tracker import flow

SIDES = (28, 60, 130)
SIZE = (320, 240)
TURN, GROWTH, NOISE = 0.02, 0.015, 2.0  # radians, a logarithm, grey levels


@dataclass(frozen=True)
class Move:
    """Two frames, uint8 (240, 320), the face's box in the first, and the similarity (2, 3) between them."""

    before: np.ndarray
    now: np.ndarray
    box: Box
    motion: np.ndarray


def moves(gray: np.ndarray, headshot: Headshot, side: int, count: int, step: float) -> Iterator[Move]:
    """gray: a whole picture with the face."""
    random, scale, centre = np.random.default_rng(side), side / headshot.side, np.array(SIZE) / 2
    soft = cv2.GaussianBlur(gray, (0, 0), 0.4 / scale)
    place = np.array([[scale, 0, centre[0] - scale * headshot.cx], [0, scale, centre[1] - scale * headshot.cy]])
    height = side / SIDE_PER_BOX_HEIGHT
    box = Box(centre[0] - 0.38 * height, centre[1] - 0.47 * height, 0.76 * height, height)
    for _ in range(count):
        angle, growth = random.normal(0, TURN), np.exp(random.normal(0, GROWTH))
        turn = growth * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        motion = np.column_stack((turn, centre - turn @ centre + random.normal(0, step * side, 2)))
        moved = np.column_stack((turn @ place[:, :2], turn @ place[:, 2] + motion[:, 2]))
        frames = (cv2.warpAffine(soft, way, SIZE, borderMode=cv2.BORDER_REPLICATE) for way in (place, moved))
        before, now = (np.clip(f + random.normal(0, NOISE, f.shape), 0, 255).astype(np.uint8) for f in frames)
        yield Move(before, now, box, motion)


def measured(move: Move) -> tuple[float | None, float]:
    """The error in pixels, None where the face is lost; and ms."""
    start = time.thread_time()
    found, _ = flow(move.before, move.now, move.box)
    ms = 1000 * (time.thread_time() - start)
    if found is None:
        return None, ms
    box = move.box
    corners = np.array([(x, y) for x in (box.x, box.x + box.width) for y in (box.y, box.y + box.height)])
    away = corners @ (found[:2, :2] - move.motion[:, :2]).T + found[:2, 2] - move.motion[:, 2]
    return float(np.sqrt(np.square(away).sum(1).mean())), ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS_DIR")
    parser.add_argument("--moves", type=int, default=6, help="of each face at each size")
    parser.add_argument("--step", type=float, default=0.03, help="shift, of the headshot's side")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detector, found = MtcnnDetector(), {side: [] for side in SIDES}
    for path in clips_in(options.folder):
        for rgb, detection in faces_of(path, detector, {0}).values():
            headshot = headshot_of(detection.box)
            for side in (side for side in SIDES if side <= headshot.side):
                found[side] += [measured(m) for m in moves(luma(rgb), headshot, side, options.moves, options.step)]
    rows = {}
    for side, results in found.items():
        errors = 100 * np.array([error for error, _ in results if error is not None] or [np.nan]) / side
        rms, p95 = float(np.sqrt(np.square(errors).mean())), float(np.percentile(errors, 95))
        lost, ms = sum(error is None for error, _ in results), float(np.median([ms for _, ms in results] or [np.nan]))
        rows[side] = {"moves": len(results), "rms": rms, "p95": p95, "lost": lost, "ms": ms}
        print(f"{side:4} px: rms {rms:.3f} %, p95 {p95:.3f} %, lost {lost} of {len(results)}, {ms:.2f} ms")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
