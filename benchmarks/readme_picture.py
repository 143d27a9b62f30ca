"""Makes the README's picture with scikit-image's astronaut: the enhancer over a walk away from the camera, and over a
close face whose uplink becomes poor.

python -m benchmarks.readme_picture docs/picture.png
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from benchmarks.shared.portrait import CLOSE_FRAMES, FPS, WALK_FRAMES, Portrait, face_region, truth
from hime_core.compositing.render import Renderer
from hime_core.engine import BatchingEngine, build_engine
from hime_core.faces.detector import ScanningDetector
from hime_core.faces.geometry import crop, resized
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhanced, Enhancer, EnhancerConfig
from hime_core.video.picture import Picture
from server.proof.scene import cut, moved
from tests.media.test_damaged_faces import Shown, Stream

LAST = CLOSE_FRAMES + WALK_FRAMES + 40
SIDE = 268  # of each picture
POOR = 30_000  # bit/s


def main(path: str) -> None:
    engine = build_engine()
    rows = {
        ("before, close", "now, far: 31 px", "HIME Relay", "the truth"): far(engine),
        ("before, 1.5 Mbit/s", "now, 30 kbit/s", "HIME Relay", "the truth"): starved(engine),
    }
    cv2.imwrite(path, np.vstack([_labelled(pictures, labels) for labels, pictures in rows.items()])[..., ::-1])
    engine.close()


def far(engine: BatchingEngine) -> list[np.ndarray]:
    portrait, now = Portrait(frames=1), 0.0
    enhancer = Enhancer(
        engine, ScanningDetector(), People(clock=lambda: now), EnhancerConfig(patience=None), clock=lambda: now
    )
    for number in range(0, LAST + 1):
        now = number / FPS
        frame = enhancer.finish(enhancer.begin(Picture.from_rgb(portrait.shown(number)), now))
    region = face_region(LAST)
    exemplar = enhancer.people.exemplars()[0]
    half = 0.36 * exemplar.headshot.side  # as much of the headshot as the others show
    x, y = round(exemplar.headshot.cx - half), round(exemplar.headshot.cy - half)
    return [crop(exemplar.image, x, y, round(2 * half)), *(v.rgb()[region] for v in _views(frame)), truth(LAST)[region]]


def starved(engine: BatchingEngine) -> list[np.ndarray]:
    stream, shown = Stream(engine), Shown(640, 360, 160.0)
    found = stream.play(shown, [1_500_000] * 60 + [POOR] * 45)
    good, last = 40, len(found) - 1
    scale = 2.0

    def face(rgb: np.ndarray, number: int) -> np.ndarray:
        return cut(rgb, moved(shown.place(number), scale), SIDE)

    before = face(_views(found[good])[0].rgb(), good)
    return [before, *(face(v.rgb(), last) for v in _views(found[last])), face(shown.rgb(last, scale), last)]


def _views(frame: Enhanced) -> list[Picture]:
    return [Renderer(view, "upscale").render(frame) for view in ("original", "enhanced")]


def _labelled(pictures: list[np.ndarray], labels: tuple[str, ...]) -> np.ndarray:
    return np.hstack([_with_label(resized(p, SIDE), label) for p, label in zip(pictures, labels, strict=True)])


def _with_label(picture: np.ndarray, label: str) -> np.ndarray:
    bar = np.full((28, picture.shape[1], 3), 24, np.uint8)
    cv2.putText(bar, label, (8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([picture, bar])


if __name__ == "__main__":
    main(sys.argv[1])
