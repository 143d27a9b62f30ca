"""The engine: one thread that takes whatever faces wait, in batches of like size."""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress

import numpy as np

from hime_core.engine.backends import Backend
from hime_core.engine.protocol import FaceRequest
from hime_core.engine.references import ReferenceCutter

Work = tuple[FaceRequest, "Future[np.ndarray]", float]  # the time it was queued


class BatchingEngine:
    """Runs a backend for all streams of a process.

    capacity: faces that may wait, more are refused with `Overload`; on_batch: told each batch's size and seconds;
    on_wait: told each face's seconds in the queue.
    """

    def __init__(
        self,
        backend: Backend,
        capacity: int = 64,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
        on_wait: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.scale = backend.scale
        self._backend = backend
        self._on_batch = on_batch
        self._on_wait = on_wait
        self._cutter = ReferenceCutter(self.scale)
        self._queue: queue.Queue[Work | None] = queue.Queue(capacity)
        self._forgotten: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="hime-engine", daemon=True)
        self._thread.start()

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future[np.ndarray]]:
        return [self._put(request) for request in requests]

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        self._forgotten.put(tuple(exemplar_ids))
        self._wake()

    def close(self) -> None:
        """Ends the thread; faces that still wait are cancelled."""
        self._closed = True
        self._wake()
        self._thread.join(timeout=5)
        self._cancel_waiting()

    def enhance(self, requests: Sequence[FaceRequest]) -> list[np.ndarray]:
        """The same without a queue, for tests and measurements. All of one size and number of references."""
        references = np.stack([self._cutter.references(r) for r in requests])
        return list(self._backend.infer(np.stack([r.lr for r in requests]), references))

    def _cancel_waiting(self) -> None:
        while True:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return
            if work:
                work[1].cancel()

    def _wake(self) -> None:
        with suppress(queue.Full):  # then there is work to wake for
            self._queue.put_nowait(None)

    def _put(self, request: FaceRequest) -> Future[np.ndarray]:
        future: Future[np.ndarray] = Future()
        if self._closed:
            future.cancel()
            return future
        try:
            self._queue.put_nowait((request, future, time.perf_counter()))
        except queue.Full:
            future.set_exception(Overload("the engine's queue is full"))
        return future

    def _serve(self) -> None:
        while not self._closed:
            self._take_up(self._queue.get())  # between batches, nothing here holds on to anybody's face
        self._cancel_waiting()

    def _take_up(self, first: Work | None) -> None:
        waiting = [first]
        while len(waiting) < self._backend.max_batch:
            try:
                waiting.append(self._queue.get_nowait())
            except queue.Empty:
                break
        while not self._forgotten.empty():
            self._cutter.forget(self._forgotten.get())
        groups: dict[tuple[int, int], list[Work]] = defaultdict(list)
        for work in waiting:
            if work and work[1].set_running_or_notify_cancel():
                groups[work[0].lr.shape[0], max(1, len(work[0].exemplars))].append(work)
        for group in groups.values():
            self._run(group)

    def _run(self, group: list[Work]) -> None:
        start = time.perf_counter()
        try:
            for _, _, queued in group:
                self._on_wait(start - queued)
            results = self.enhance([request for request, _, _ in group])
            self._on_batch(len(group), time.perf_counter() - start)
        except Exception as error:
            for _, future, _ in group:
                future.set_exception(error)
            return
        for (_, future, _), result in zip(group, results, strict=True):
            future.set_result(result)


class Overload(RuntimeError):
    """The engine takes no more for now."""
