"""Detection beside a stream: how often, with a detector that takes as long as it is told to."""

import time

import numpy as np
import pytest

from hime_core.faces.detector import Detection
from hime_core.faces.geometry import Box
from hime_core.faces.watch import FaceWatch

FPS = 25


class Detector:
    """Moves the clock on by the time that it takes."""

    def __init__(self) -> None:
        self.now, self.seconds, self.calls, self.blind = 100.0, 0.0, 0, False

    def clock(self) -> float:
        return self.now

    def detect(self, rgb, last=()) -> list[Detection]:
        self.calls += 1
        self.now += self.seconds
        return [] if self.blind else [Detection(Box(20, 20, 40, 50), np.full((5, 2), 40, np.float32), 0.99)]


def calls_in(seconds: float, detector: Detector, watch: FaceWatch, size: tuple[int, int] = (90, 120)) -> int:
    gray = np.random.default_rng(0).integers(0, 255, size, np.uint8)
    rgb, before = np.dstack([gray] * 3), detector.calls
    for _ in range(round(seconds * FPS)):
        detector.now += 1 / FPS
        asked = detector.calls
        watch.update(lambda: rgb, gray.copy())
        end = time.monotonic() + 5
        while watch._pending and not watch._pending[0].done() and time.monotonic() < end:
            time.sleep(0.0005)  # the detector's own time is the clock's
        assert detector.calls - asked <= 1
    return detector.calls - before


@pytest.fixture
def detector():
    return Detector()


def test_a_fast_detector_looks_every_fifth_frame(detector):
    watch = FaceWatch(detector, 5, in_step=False, clock=detector.clock)
    calls_in(1, detector, watch)
    assert calls_in(4, detector, watch) == pytest.approx(4 * FPS / 5, abs=4)
    watch.close()


def test_a_slow_detector_looks_less_often_and_recovers(detector):
    watch = FaceWatch(detector, 5, in_step=False, clock=detector.clock)
    calls_in(1, detector, watch)
    often = calls_in(4, detector, watch)
    detector.seconds = 0.15
    calls_in(3, detector, watch)
    assert calls_in(4, detector, watch) < 0.6 * often
    detector.seconds = 0.0
    calls_in(4, detector, watch)
    assert calls_in(4, detector, watch) == pytest.approx(often, abs=3)
    watch.close()


def test_however_slow_it_looks_now_and_then(detector):
    watch = FaceWatch(detector, 5, in_step=False, clock=detector.clock)
    detector.seconds = 3.0
    assert calls_in(4, detector, watch) >= 3
    watch.close()


def test_files_are_looked_at_in_step_however_long_it_takes(detector):
    watch = FaceWatch(detector, 5, in_step=True, clock=detector.clock)
    calls_in(1, detector, watch)  # until there is a face, less often
    detector.seconds = 3.0
    assert calls_in(2, detector, watch) == 2 * FPS / 5


@pytest.mark.parametrize(("size", "frames"), [((360, 640), 15), ((720, 1280), 5), ((960, 540), 5)])
def test_only_a_small_picture_without_a_face_is_looked_at_less_often(detector, size, frames):
    watch = FaceWatch(detector, 5, in_step=False, clock=detector.clock)
    detector.blind = True
    calls_in(1, detector, watch, size)
    assert calls_in(6, detector, watch, size) == pytest.approx(6 * FPS / frames, abs=2)
    watch.close()
