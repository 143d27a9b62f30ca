"""An engine that is lost, and the one that takes its place."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
import pytest

from hime_core.engine import BatchingEngine, FailoverConfig, FailoverEngine
from hime_core.engine.failover import Replaced
from hime_core.engine.protocol import FaceRequest, Gone, Late, Overload
from tests.unit.test_failing_engine import Backend, Stream

QUICK = FailoverConfig(failed_faces=4, failed_for=0.05, hangs=0.3, every=0.02, pauses=(0.2, 0.8))
FACE = FaceRequest(np.zeros((16, 16, 3), np.uint8), np.zeros((5, 2), np.float32), ())


class Answering:
    """Answers with `answer`: a picture, an error, or nothing at all (None)."""

    scale = 4

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.forgotten: list[str] = []
        self.closed = threading.Event()
        self.asked = 0

    def submit(self, requests):
        self.asked += len(requests)
        futures = [Future() for _ in requests]
        for future in futures:
            if isinstance(self.answer, BaseException):
                future.set_exception(self.answer)
            elif self.answer is not None:
                future.set_result(self.answer)
        return futures

    def forget(self, exemplar_ids):
        self.forgotten += exemplar_ids

    def close(self):
        self.closed.set()


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def failing_over(first, make_next, config: FailoverConfig = QUICK) -> Iterator[tuple[FailoverEngine, list[str]]]:
    failures: list[str] = []
    engine = FailoverEngine(first, make_next, lambda: failures.append("engine"), config)
    try:
        yield engine, failures
    finally:
        engine.close()


def ask(engine: FailoverEngine) -> object:
    (future,) = engine.submit([FACE])
    try:
        return future.result(timeout=5)
    except Exception as error:
        return error


def test_an_engine_that_works_is_left_alone() -> None:
    first = Answering("picture")
    with failing_over(first, lambda: pytest.fail("nothing was to be replaced")) as (engine, failures):
        for _ in range(10):
            assert ask(engine) == "picture"
            time.sleep(0.02)
        engine.forget(["a"])
        assert first.forgotten == ["a"] and not failures
    assert first.closed.is_set()


def test_a_lost_graphics_card_is_replaced_and_counted_once() -> None:
    lost, spare = Answering(RuntimeError("CUDA error: device lost")), Answering("from the CPU")
    with failing_over(lost, lambda: spare) as (engine, failures):
        eventually(lambda: ask(engine) == "from the CPU")
        assert failures == ["engine"]
        eventually(lost.closed.is_set)
        engine.forget(["a"])
        assert spare.forgotten == ["a"] and not lost.forgotten
        asked = lost.asked
        assert ask(engine) == "from the CPU" and lost.asked == asked


@pytest.mark.parametrize("refusal", [Overload("full"), Late("too late")])
def test_being_busy_is_no_failure(refusal: Exception) -> None:
    with failing_over(Answering(refusal), lambda: pytest.fail("it is only busy")) as (engine, failures):
        for _ in range(30):
            assert ask(engine) is refusal
            time.sleep(0.01)
        assert not failures


def test_a_failure_now_and_then_is_no_loss() -> None:
    first = Answering("picture")
    with failing_over(first, lambda: pytest.fail("it answers between")) as (engine, failures):
        for number in range(60):
            first.answer = "picture" if number % 3 == 0 else RuntimeError("this face")
            ask(engine)
            time.sleep(0.005)
        assert not failures


def test_an_engine_that_hangs_is_replaced_and_its_faces_are_let_go() -> None:
    spare = Answering("picture")
    with failing_over(Answering(None), lambda: spare) as (engine, failures):
        (hanging,) = engine.submit([FACE])  # nobody asks again: it is found nevertheless
        assert isinstance(hanging.exception(timeout=5), Replaced)
        eventually(lambda: ask(engine) == "picture")
        assert failures == ["engine"]


def test_one_that_is_gone_is_replaced_at_once_and_missed_until_then() -> None:
    made, patient = threading.Event(), FailoverConfig(failed_faces=1000, failed_for=1000, hangs=1000, every=0.02)

    def make_next() -> Answering:
        assert made.wait(5)
        return Answering("picture")

    with failing_over(Answering(Gone("it has ended")), make_next, patient) as (engine, failures):
        assert engine.missing_for == 0
        assert isinstance(ask(engine), Gone)
        eventually(lambda: isinstance(ask(engine), Replaced))
        eventually(lambda: engine.missing_for > 0.05)
        made.set()
        eventually(lambda: ask(engine) == "picture")
        assert failures == ["engine"] and engine.missing_for == 0


def test_one_that_was_made_too_late_is_closed() -> None:
    making, made, spare = threading.Event(), threading.Event(), Answering("picture")

    def make_next() -> Answering:
        making.set()
        assert made.wait(5)
        return spare

    with failing_over(Answering(Gone("it has ended")), make_next) as (engine, _):
        ask(engine)
        assert making.wait(5)
        threading.Timer(0.05, made.set).start()
    assert spare.closed.wait(5)


def test_a_face_that_nobody_wants_is_not_wanted_behind_it_either() -> None:
    asked: list[Future] = []

    class Keeping(Answering):
        def submit(self, requests):
            asked.extend(super().submit(requests))
            return asked[-len(requests) :]

    with failing_over(Keeping(None), lambda: pytest.fail("it is only slow")) as (engine, _):
        (future,) = engine.submit([FACE])
        assert future.cancel() and asked[0].cancelled()


def test_an_answer_goes_with_whoever_asked_and_not_only_when_garbage_is_collected() -> None:
    class Later(Answering):
        def submit(self, requests):
            asked.extend(super().submit(requests))
            return asked[:]

    asked: list[Future] = []
    with failing_over(Later(None), lambda: pytest.fail("nothing was to be replaced")) as (engine, _):
        gc.disable()
        try:
            (future,) = engine.submit([FACE])
            asked.pop().set_result("picture")
            assert future.result(timeout=5) == "picture"
            gone = weakref.ref(future)
            del future
            assert gone() is None
        finally:
            gc.enable()


def test_an_engine_without_work_does_not_hang() -> None:
    with failing_over(Answering(None), lambda: pytest.fail("nothing was asked")) as (_, failures):
        time.sleep(4 * QUICK.hangs)
        assert not failures


def test_while_the_next_cannot_be_made_faces_fail_at_once_and_it_is_tried_again() -> None:
    tried = []

    def make_next() -> Answering:
        tried.append(time.monotonic())
        if len(tried) < 3:
            raise MemoryError("no room for an engine")
        asked.wait(5)
        return Answering("picture")

    asked = threading.Event()
    with failing_over(Answering(RuntimeError("CUDA error")), make_next) as (engine, _):
        eventually(lambda: isinstance(ask(engine), Replaced))
        (future,) = engine.submit([FACE])
        assert isinstance(future.exception(timeout=0), Replaced)  # and not only once there is another
        asked.set()
        eventually(lambda: ask(engine) == "picture")
        assert len(tried) == 3
        assert tried[2] - tried[1] > 1.5 * (tried[1] - tried[0])  # each pause is longer than the one before


def test_replacements_come_further_and_further_apart() -> None:
    made: list[float] = []

    def make_next() -> Answering:
        made.append(time.monotonic())
        return Answering(RuntimeError("CUDA error"))

    with failing_over(make_next(), make_next) as (engine, failures):
        eventually(lambda: ask(engine) and len(made) == 4)
        assert len(failures) == 3
        assert made[3] - made[2] > 1.5 * (made[2] - made[1])


def test_one_that_enlarges_differently_does_not_take_over() -> None:
    other = Answering("picture")
    other.scale = 8
    spares = [other, Answering("picture")]
    with failing_over(Answering(RuntimeError("CUDA error")), lambda: spares.pop(0)) as (engine, _):
        eventually(lambda: ask(engine) == "picture")
        assert other.closed.is_set()


def test_a_call_passes_while_the_graphics_card_is_lost_and_is_enhanced_again() -> None:
    lost = False

    def before(faces: int) -> None:
        if lost:
            raise RuntimeError("CUDA error: unspecified launch failure")

    made = Stream(Backend(before))
    failures: list[str] = []
    engine = FailoverEngine(
        made.engine, lambda: BatchingEngine(Backend(lambda faces: None)), lambda: failures.append("engine"), QUICK
    )
    made.pipeline._enhancer._engine = engine
    try:
        made.send_until(lambda: made.outcome("enhanced") >= 5)
        lost = True
        made.send_until(lambda: failures)
        enhanced = made.outcome("enhanced")
        made.send_until(lambda: made.outcome("enhanced") > enhanced + 10)
        assert failures == ["engine"]
        assert made.count("hime_bypass_total", "error") >= QUICK.failed_faces
        made.send(0.5)
    finally:
        made.pipeline.close()
        engine.close()
    assert sum(made.outcome(name) for name in ("enhanced", "carried", "passed", "dropped")) == made.sent
