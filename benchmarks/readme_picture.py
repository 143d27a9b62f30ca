"""Makes the README's picture: the enhancer over a made-up walk away from the camera, with scikit-image's astronaut.

python -m benchmarks.readme_picture docs/picture.png
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from hime_core.bank import ExemplarBank
from hime_core.compositing.render import Renderer
from hime_core.engine import build_engine
from hime_core.enhancer import Enhancer, EnhancerConfig
from hime_core.faces.detector import MtcnnDetector, ScanningDetector
from hime_core.faces.geometry import crop
from hime_core.picture import Picture
from tests.media.portrait import CLOSE_FRAMES, FPS, WALK_FRAMES, Portrait, face_region, truth

LAST = CLOSE_FRAMES + WALK_FRAMES + 40
ENLARGED = 3


def main(path: str) -> None:
    portrait = Portrait(frames=1)
    now = [0.0]
    engine = build_engine()
    enhancer = Enhancer(
        engine, ScanningDetector(MtcnnDetector()), ExemplarBank(clock=lambda: now[0]),
        EnhancerConfig(patience=None), clock=lambda: now[0],
    )  # fmt: skip
    views = Renderer("original", "upscale"), Renderer("enhanced", "upscale")
    for number in range(0, LAST + 1):
        now[0] = number / FPS
        camera = portrait.shown(number)
        frame = enhancer.finish(enhancer.begin(Picture.from_rgb(camera), now[0]))
    region = face_region(LAST)
    pictures = [renderer.render(frame).rgb()[region] for renderer in views]
    exemplar, side = enhancer.bank.exemplars()[0], pictures[0].shape[0]
    half = 0.36 * exemplar.headshot.side  # as much of the headshot as the others show
    x, y = round(exemplar.headshot.cx - half), round(exemplar.headshot.cy - half)
    close = cv2.resize(crop(exemplar.image, x, y, round(2 * half)), (side, side), interpolation=cv2.INTER_AREA)
    shown = [close, *pictures, truth(LAST)[region]]
    enlarged = [cv2.resize(p, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC) for p in shown]
    labels = ("before, close", "now, far: 31 px", "HIME Relay", "the truth")
    cv2.imwrite(path, np.hstack([_labelled(p, label) for p, label in zip(enlarged, labels, strict=True)])[..., ::-1])
    engine.close()


def _labelled(picture: np.ndarray, label: str) -> np.ndarray:
    bar = np.full((28, picture.shape[1], 3), 24, np.uint8)
    cv2.putText(bar, label, (8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([picture, bar])


if __name__ == "__main__":
    main(sys.argv[1])
