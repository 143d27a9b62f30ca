"""The faces that wait for the engine, and whose turn it is."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass

from hime_core.arrays import U8
from hime_core.engine.protocol import FaceRequest, Late

REMEMBERED = 1024  # streams whose last turn is known


@dataclass(frozen=True, eq=False)
class Work:
    request: FaceRequest
    future: Future[U8]
    queued: float

    @property
    def bucket(self) -> tuple[int, int]:
        """What must be alike in a batch: LR size and number of references."""
        return self.request.lr.shape[0], max(1, len(self.request.exemplars))


class WaitingRoom:
    """A bounded set of waiting faces that is emptied in batches; thread-safe.

    Streams take turns: the one served longest ago comes first, and its oldest face decides the batch's bucket. A batch
    that is not full is held back up to `linger` seconds for company, never past the moment when `expected(bucket)`
    seconds of work would miss a member's deadline. Faces whose deadline has passed are refused with `Late`.
    lanes: threads that take from it. Each takes its share of the faces that are alike, not all: those of one batch are
    prepared one after the other, which takes longer than computing them.
    """

    def __init__(
        self,
        capacity: int,
        linger: float = 0.0,
        expected: Callable[[tuple[int, int]], float] = lambda bucket: 0.0,
        clock: Callable[[], float] = time.monotonic,
        lanes: int = 1,
    ) -> None:
        self.capacity = capacity
        self._lanes = lanes
        self.late = 0  # faces refused so far
        self._linger, self._expected, self._clock = linger, expected, clock
        self._waiting: dict[Hashable, deque[Work]] = {}
        self._served: OrderedDict[Hashable, int] = OrderedDict()  # a stream's last turn
        self._turn = 0
        self._count = 0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, request: FaceRequest, future: Future[U8]) -> bool:
        """Takes a face in, or returns False when there is no room, or it is closed."""
        with self._changed:
            if self._closed or self._count >= self.capacity:
                return False
            self._waiting.setdefault(request.stream, deque()).append(Work(request, future, self._clock()))
            self._count += 1
            self._changed.notify()
            return True

    def take(self, most: int) -> list[Work]:
        """Up to `most` faces of one bucket, set running; waits for the first. Empty once it is closed."""
        with self._changed:
            while not self._closed:
                self._drop_late()
                alike = self._alike()
                if not alike:
                    self._changed.wait()
                    continue
                batch = alike[: min(most, -(-len(alike) // self._lanes))]
                has_company = len(batch) == most or len(batch) < len(alike)
                rest = 0.0 if has_company else self._patience(batch)
                if rest > 0:
                    self._changed.wait(rest)
                    continue
                for work in batch:
                    self._remove(work)
                taken = [work for work in batch if work.future.set_running_or_notify_cancel()]
                if taken:
                    return taken
            return []

    def close(self) -> list[Work]:
        """Ends all waiting; returns what was left."""
        with self._changed:
            self._closed = True
            left = [work for faces in self._waiting.values() for work in faces]
            self._waiting.clear()
            self._count = 0
            self._changed.notify_all()
            return left

    def _alike(self) -> list[Work]:
        """The faces of the bucket whose turn it is, round by round, each stream's oldest first."""
        order = sorted(self._waiting, key=lambda stream: self._served.get(stream, -1))
        if not order:
            return []
        bucket = self._waiting[order[0]][0].bucket
        alike = [[work for work in self._waiting[stream] if work.bucket == bucket] for stream in order]
        rounds = max(map(len, alike))
        return [works[i] for i in range(rounds) for works in alike if i < len(works)]

    def _patience(self, batch: list[Work]) -> float:
        """Seconds that a batch can be held back from now on."""
        oldest = min(work.queued for work in batch)
        deadline = min(work.request.deadline for work in batch)
        return min(oldest + self._linger, deadline - self._expected(batch[0].bucket)) - self._clock()

    def _drop_late(self) -> None:
        now = self._clock()
        for work in [work for faces in self._waiting.values() for work in faces if work.request.deadline < now]:
            self._remove(work, served=False)
            self.late += 1
            if work.future.set_running_or_notify_cancel():
                work.future.set_exception(Late("the engine came to it after its deadline"))

    def _remove(self, work: Work, served: bool = True) -> None:
        stream = work.request.stream
        self._waiting[stream].remove(work)
        if not self._waiting[stream]:
            del self._waiting[stream]
        self._count -= 1
        if served:
            self._turn += 1
            self._served[stream] = self._turn
            self._served.move_to_end(stream)
            if len(self._served) > REMEMBERED:
                self._served.popitem(last=False)
