"""An engine whose place another takes when it fails for good, or hangs: a graphics card that is lost, above all."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from hime_core.arrays import U8
from hime_core.engine.protocol import Engine, FaceRequest, Gone, Late, Overload

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FailoverConfig:
    """When an engine is given up: at once where it says that it is gone, and else by these. Times in seconds.

    failed_faces: that failed in a row, over `failed_for` at least; hangs: without an answer while faces wait for one;
    every: between looks; pauses: between two replacements, the first and the longest: doubled each time, until an
    engine has lasted for twice the longest.
    """

    failed_faces: int = 8
    failed_for: float = 2.0
    hangs: float = 10.0
    every: float = 0.5
    pauses: tuple[float, float] = (10.0, 300.0)


class Replaced(RuntimeError):
    """The engine that had the face was given up."""


class FailoverEngine:
    """An Engine. While there is none to ask, every face fails, so that frames pass.

    A request carries its exemplars itself, so that the next engine needs nothing that was known to the one before.
    """

    def __init__(
        self,
        engine: Engine,
        make_next: Callable[[], Engine],
        on_failure: Callable[[], None] = lambda: None,
        config: FailoverConfig = FailoverConfig(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Closes the engines. make_next: makes the one that takes over, in a thread of its own; it may raise, and is
        then asked again after a pause. on_failure: called in that thread whenever an engine is given up."""
        self.scale = engine.scale
        self._engine: Engine | None = engine
        self._make_next, self._on_failure, self._config, self._clock = make_next, on_failure, config, clock
        self._pause = config.pauses[0]
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._generation = 0
        self._waiting: set[Future[U8]] = set()
        self._failures, self._failed_since = 0, 0.0  # faces in a row, and when the first was
        self._gone = False  # whether the engine has said so
        self._lost: float | None = None  # when the engine was given up, while there is no other
        self._silence = 0.0  # seconds that faces have waited since the last answer
        self._watch = threading.Thread(target=self._watch_engine, name="hime-engine-watch", daemon=True)
        self._watch.start()

    @property
    def missing_for(self) -> float:
        """Seconds since there has been no engine to ask; 0 while there is one."""
        lost = self._lost
        return 0.0 if lost is None else self._clock() - lost

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future[U8]]:
        answers: list[Future[U8]] = [Future() for _ in requests]
        with self._lock:
            engine, generation = self._engine, self._generation
            if engine is not None:
                self._waiting.update(answers)
        if engine is None:
            for answer in answers:
                answer.set_exception(Replaced("the engine is being replaced"))
            return answers
        # Not under the lock: a face may be answered in this very call.
        for answer, future in zip(answers, _submitted(engine, requests), strict=True):
            # Weakly: they would keep each other, and a sharp face each, until a garbage collection.
            answer.add_done_callback(partial(_cancelled_too, weakref.ref(future)))
            future.add_done_callback(partial(self._answered, generation, answer))
        return answers

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        engine = self._engine
        if engine is not None:
            engine.forget(exemplar_ids)

    def close(self) -> None:
        self._closing.set()
        self._watch.join(timeout=5)
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _answered(self, generation: int, answer: Future[U8], future: Future[U8]) -> None:
        error = CancelledError() if future.cancelled() else future.exception()
        with self._lock:
            self._waiting.discard(answer)
            if generation == self._generation:
                self._learn(error)
        with suppress(InvalidStateError):  # it was given up meanwhile
            if isinstance(error, CancelledError):
                answer.cancel()
            elif error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(future.result())

    def _learn(self, error: BaseException | None) -> None:
        """From one face's end. What is refused for want of time says nothing of the engine's health."""
        if isinstance(error, Overload | CancelledError):
            return
        self._silence = 0.0
        if error is None:
            self._failures = 0
        elif isinstance(error, Gone):
            self._gone = True
        elif not isinstance(error, Late):
            self._failed_since = self._failed_since if self._failures else self._clock()
            self._failures += 1

    # -- the watch's thread

    def _watch_engine(self) -> None:
        last, rest = self._clock(), 0.0
        while not self._closing.wait(self._config.every):
            # A machine that slept is not an engine that hangs.
            now = self._clock()
            passed, last = min(now - last, 2 * self._config.every), now
            rest -= passed
            why = self._given_up(now, passed)
            if rest < -2 * self._config.pauses[1]:
                self._pause = self._config.pauses[0]
            if why and rest <= 0:
                self._replace(why)
                rest, self._pause = self._pause, min(2 * self._pause, self._config.pauses[1])
                last = self._clock()

    def _given_up(self, now: float, passed: float) -> str:
        """Why the engine is of no more use; empty while it is."""
        config = self._config
        with self._lock:
            self._silence = self._silence + passed if self._waiting else 0.0
            if self._gone:
                return "it is gone"
            if self._silence >= config.hangs:
                return "it does not answer"
            if self._failures >= config.failed_faces and now - self._failed_since >= config.failed_for:
                return "each of its last faces failed"
        return ""

    def _replace(self, why: str) -> None:
        log.error("the engine is replaced: %s", why)
        with self._lock:
            before, self._engine = self._engine, None
            self._generation += 1
            given_up, self._waiting = self._waiting, set()
            self._failures, self._silence, self._gone = 0, 0.0, False
            self._lost = self._clock()
        self._on_failure()
        for answer in given_up:
            with suppress(InvalidStateError):  # answered just now
                answer.set_exception(Replaced(f"the engine was replaced: {why}"))
        if before is not None:  # in a thread of its own, as it may hang
            threading.Thread(target=before.close, name="hime-engine-close", daemon=True).start()
        pause = self._config.pauses[0]
        while not self._closing.is_set():
            try:
                engine = self._make_next()
                if engine.scale != self.scale:
                    engine.close()
                    raise ValueError(f"the next engine enlarges by {engine.scale}, not by {self.scale}")
            except Exception:
                log.exception("no engine could be made, frames pass meanwhile")
                self._closing.wait(pause)
                pause = min(2 * pause, self._config.pauses[1])
                continue
            with self._lock:
                closed = self._closing.is_set()
                if not closed:
                    self._engine, self._lost = engine, None
            if closed:  # which came while it was made
                engine.close()
                return
            log.warning("another engine has taken over")
            return


def _cancelled_too(asked: weakref.ref[Future[U8]], answer: Future[U8]) -> None:
    """An engine that is to answer a future has it still."""
    if answer.cancelled() and (future := asked()) is not None:
        future.cancel()


def _submitted(engine: Engine, requests: Sequence[FaceRequest]) -> list[Future[U8]]:
    """An engine that takes nothing at all is one that fails each face."""
    try:
        return engine.submit(requests)
    except Exception as error:
        failed: list[Future[U8]] = [Future() for _ in requests]
        for future in failed:
            future.set_exception(error)
        return failed
