"""The engine: threads that take whatever faces wait, in batches of like size, from all streams in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

from hime_core.arrays import U8
from hime_core.engine.host_runner import HostRunner
from hime_core.engine.protocol import Backend, FaceRequest, FaceRunner, Overload
from hime_core.engine.waiting import WaitingRoom, Work

SMOOTHING = 0.2


class BatchingEngine:
    """Enhances the faces of all streams of a process, in `lanes` threads.

    runner: what does it; a backend's references are cut on the host. capacity: faces that may wait, more are refused
    with `Overload`; on_batch: told each batch's size and seconds; on_wait: told each face's seconds in the queue;
    clock: what the requests' deadlines are read on.
    """

    def __init__(
        self,
        runner: Backend | FaceRunner,
        capacity: int = 64,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
        on_wait: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner = runner if isinstance(runner, FaceRunner) else HostRunner(runner)
        self.scale = self._runner.scale
        self._on_batch, self._on_wait, self._clock = on_batch, on_wait, clock
        self._seconds: dict[tuple[int, int], float] = {}  # that a bucket's batch takes
        self._waiting = WaitingRoom(capacity, lambda bucket: self._seconds.get(bucket, 0.0), clock)
        self._threads = [
            threading.Thread(target=self._serve, name=f"hime-engine-{lane}", daemon=True)
            for lane in range(runner.lanes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def late(self) -> int:
        """Faces refused so far because their deadline had passed."""
        return self._waiting.late

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future[U8]]:
        futures: list[Future[U8]] = [Future() for _ in requests]
        taken_in = self._waiting.put(*zip(requests, futures, strict=True))
        for future, taken in zip(futures, taken_in, strict=True):
            if not taken and self._waiting.closed:
                future.cancel()
            elif not taken:
                future.set_exception(Overload("the engine's queue is full"))
        return futures

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        self._runner.forget(exemplar_ids)

    def close(self) -> None:
        """Ends the threads; faces that still wait are cancelled."""
        for work in self._waiting.close():
            work.future.cancel()
        for thread in self._threads:
            thread.join(timeout=5)
        self._runner.close()

    def enhance(self, requests: Sequence[FaceRequest]) -> list[U8]:
        """The same without a queue, for tests and measurements. All of one size and number of references."""
        return list(self._runner.enhance(requests))

    def _serve(self) -> None:
        while batch := self._waiting.take(self._runner.max_batch):
            self._run(batch)
            del batch  # between batches, nothing here holds on to anybody's face

    def _run(self, batch: list[Work]) -> None:
        start = self._clock()
        try:
            for work in batch:
                self._on_wait(start - work.queued)
            results = self.enhance([work.request for work in batch])
            seconds = self._clock() - start
            before = self._seconds.get(batch[0].bucket, seconds)
            self._seconds[batch[0].bucket] = before + SMOOTHING * (seconds - before)
            self._on_batch(len(batch), seconds)
        except Exception as error:
            for work in batch:
                work.future.set_exception(error)
            return
        for work, result in zip(batch, results, strict=True):
            work.future.set_result(result)
