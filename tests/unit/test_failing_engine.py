"""Whatever happens to the engine, every received frame counts once, nothing piles up, and the stream goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import cv2
import numpy as np
import pytest

from hime_core.engine.batching import BatchingEngine
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer
from server.media.pipeline import MAX_IN_FLIGHT, VideoPipeline
from server.observability.metrics import Metrics
from tests.unit.enhancer_stage import Scene

FPS = 30
FAR = (0.3, 250.0, 100.0)  # a face of about 60 px in a frame of 640x360


class Backend:
    """Enlarges; `before` runs before each inference, with the number of faces inferred so far."""

    scale, max_batch, lanes, cutters = 4, 4, 1, 1

    def __init__(self, before: Callable[[int], None]) -> None:
        self.before = before
        self.faces = 0

    def infer(self, lr: np.ndarray, references: np.ndarray) -> np.ndarray:
        self.faces += len(lr)
        self.before(self.faces)
        side = self.scale * lr.shape[1]
        return np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_CUBIC) for one in lr])


class Stream:
    """A pipeline that is sent frames at a steady rate, and how full its queues have been."""

    def __init__(self, backend: Backend) -> None:
        self.metrics, self.scene = Metrics(), Scene()
        self.scene.faces = [FAR]
        self.engine = BatchingEngine(backend)
        self.pipeline = VideoPipeline(Enhancer(self.engine, self.scene, People()), self.metrics)
        self.pipeline.start()
        self.pipeline.views.any = lambda wanted: wanted("enhanced", "upscale")  # as if the enhanced view were watched
        self.sent = 0
        self.fullest = 0
        self._picture = self.scene.frame()

    def send(self, seconds: float) -> None:
        for _ in range(round(FPS * seconds)):
            frame = self._picture.to_frame()
            frame.pts, frame.time_base = 3000 * self.sent, Fraction(1, 90000)
            self.pipeline.receive(frame, time.monotonic())
            self.sent += 1
            self.fullest = max(self.fullest, self.pipeline._in_flight)
            time.sleep(1 / FPS)

    def send_until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end
            self.send(0.2)

    def count(self, metric: str, label: str) -> float:
        samples = (s for family in self.metrics.registry.collect() for s in family.samples if s.name == metric)
        return sum(sample.value for sample in samples if label in sample.labels.values())

    def outcome(self, name: str) -> float:
        return self.count("hime_frames_total", name)


@contextmanager
def stream(before: Callable[[int], None]) -> Iterator[Stream]:
    made = Stream(Backend(before))
    try:
        yield made
    finally:
        made.pipeline.close()
        made.engine.close()
    counted = {name: made.outcome(name) for name in ("enhanced", "carried", "passed", "dropped")}
    assert sum(counted.values()) == made.sent, counted
    assert counted["enhanced"] + counted["carried"] + counted["passed"] > made.sent / 10, counted
    assert made.fullest <= MAX_IN_FLIGHT
    assert threading.active_count() < 50


def test_a_slow_engine_and_one_that_is_quick_again() -> None:
    seconds = 0.4

    def slow(faces: int) -> None:
        time.sleep(seconds)

    with stream(slow) as one:
        one.send(2)
        late = one.count("hime_bypass_total", "late") + one.count("hime_bypass_total", "overload")
        assert late > 10
        assert one.engine._waiting._count <= 1
        seconds = 0.0
        enhanced = one.outcome("enhanced")
        one.send_until(lambda: one.outcome("enhanced") > enhanced + 10)


def test_an_engine_that_hangs() -> None:
    forever = threading.Event()

    def hang(faces: int) -> None:
        if faces > 5:
            forever.wait()

    try:
        with stream(hang) as one:
            one.send_until(lambda: one.outcome("enhanced") >= 1)
            one.send(2)
            passed = one.outcome("passed")
            one.send(1)
            assert one.outcome("passed") > passed
            forever.set()
            enhanced = one.outcome("enhanced")
            one.send_until(lambda: one.outcome("enhanced") > enhanced + 10)
    finally:
        forever.set()


def test_an_engine_that_is_closed_during_the_call() -> None:
    with stream(lambda faces: None) as one:
        one.send_until(lambda: one.outcome("enhanced") >= 5)
        one.engine.close()
        one.send(1)
        passed = one.outcome("passed")
        one.send(1)
        assert one.outcome("passed") > passed


@pytest.mark.parametrize("error", [MemoryError, RuntimeError("CUDA out of memory")])
def test_an_engine_without_memory_and_one_that_has_it_again(error: Exception) -> None:
    failing = True

    def fail(faces: int) -> None:
        if failing:
            raise error

    with stream(fail) as one:
        one.send(2)
        assert one.outcome("enhanced") == 0
        assert one.count("hime_bypass_total", "error") > 5
        failing = False
        one.send_until(lambda: one.outcome("enhanced") > 10)


def test_an_engine_that_fails_on_every_tenth_face() -> None:
    failures = 0

    def fail(faces: int) -> None:
        nonlocal failures
        if faces % 10 == 0:
            failures += 1
            raise RuntimeError("on purpose")

    with stream(fail) as one:
        one.send_until(lambda: failures >= 3)
        one.send(0.5)
        assert one.outcome("enhanced") > 2 * failures
    assert one.count("hime_bypass_total", "error") <= failures  # an answer past its frame's deadline counts as late
    assert failures >= 3


def test_a_frame_that_cannot_even_be_shown_is_dropped_and_the_next_ones_go_on() -> None:
    def fail(*args: object) -> None:
        raise AssertionError("a frame such as no decoder should give")

    with stream(lambda faces: None) as one:
        views = one.pipeline.views
        show, views.show_originals = views.show_originals, fail
        one.send_until(lambda: one.outcome("dropped") >= 3)
        views.show_originals = show
        shown = one.pipeline.outcomes["enhanced"] + one.pipeline.outcomes["carried"]
        one.send_until(lambda: one.pipeline.outcomes["enhanced"] + one.pipeline.outcomes["carried"] > shown + 5)
