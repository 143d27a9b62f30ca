"""The faces that wait for the engine, and whose turn it is."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass

from hime_core.arrays import U8
from hime_core.engine.protocol import FaceRequest, Late

REMEMBERED = 1024  # streams whose last turn is known
PREPARATION = 0.0005  # seconds before one batch is done that the next one is taken: it is prepared meanwhile
LONGEST_WAIT = 0.005  # seconds for company, however long batches are said to take: the first ones are slow
SMOOTHING = 0.1  # of the time between faces
LONGEST_GAP = 1.0  # seconds between two faces: more says nothing of the next one


Bucket = tuple[int, int]  # what must be alike in a batch: LR size and number of references


@dataclass(frozen=True, eq=False)
class Work:
    request: FaceRequest
    future: Future[U8]
    queued: float

    @property
    def bucket(self) -> Bucket:
        return self.request.lr.shape[0], max(1, len(self.request.exemplars))


@dataclass(eq=False)
class _Arrivals:
    """When the last face of a bucket came, and how far they are apart in the mean, seconds."""

    last: float = -math.inf
    gap: float = LONGEST_GAP

    def came(self, now: float) -> None:
        apart = min(now - self.last, LONGEST_GAP)
        self.gap += SMOOTHING * (apart - self.gap)
        self.last = now


class WaitingRoom:
    """A bounded set of waiting faces that is emptied in batches; thread-safe.

    Streams take turns: the one served longest ago comes first, and its oldest face decides the batch's bucket. Faces
    whose deadline has passed are refused with `Late`. expected: seconds that a bucket's batch takes.

    A batch that is not full is held back while that costs nothing, as another one is being run; and while the next
    face is expected so soon that it gains more than those who wait for it lose: of n faces each waits g seconds longer,
    and the next one is spared the rest of a batch's c seconds, so (n + 1) g < c. A lone stream never waits for
    company, nobody longer than LONGEST_WAIT, and no batch past the moment when it would miss a member's deadline.
    """

    def __init__(
        self,
        capacity: int,
        expected: Callable[[Bucket], float] = lambda bucket: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = capacity
        self.late = 0  # faces refused so far
        self._expected, self._clock = expected, clock
        self._waiting: dict[Hashable, deque[Work]] = {}
        self._served: OrderedDict[Hashable, int] = OrderedDict()  # a stream's last turn
        self._running: dict[Hashable, float] = {}  # when each taker's batch should be done
        self._arrivals: dict[Bucket, _Arrivals] = {}
        self._turn = 0
        self._count = 0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, *faces: tuple[FaceRequest, Future[U8]]) -> list[bool]:
        """Takes faces in together; False for each that there is no room for, and for all when it is closed."""
        with self._changed:
            room = 0 if self._closed else max(0, self.capacity - self._count)
            now = self._clock()
            for request, future in faces[:room]:
                work = Work(request, future, now)
                self._waiting.setdefault(request.stream, deque()).append(work)
                self._arrivals.setdefault(work.bucket, _Arrivals()).came(now)
                self._count += 1
            self._changed.notify(min(room, len(faces)))
            return [n < room for n in range(len(faces))]

    def take(self, most: int) -> list[Work]:
        """Up to `most` faces of one bucket, set running; waits for the first. Empty once it is closed.

        Whoever takes again is done with what it took before.
        """
        taker = threading.get_ident()
        with self._changed:
            if self._running.pop(taker, None) is not None and self._count:
                self._changed.notify_all()
            while not self._closed:
                batch, rest = self.look(most, taker)
                taken = [work for work in batch if work.future.set_running_or_notify_cancel()]
                if taken:
                    if self._count:
                        self._changed.notify()
                    return taken
                if batch:
                    self.done(taker)
                else:
                    self._changed.wait(rest)
            return []

    def look(self, most: int, taker: Hashable) -> tuple[list[Work], float | None]:
        """The batch that is taken now, or none and the seconds until it is worth another look: None where something
        must change first. Not to be called but by `take`, and where time is simulated, together with `done`."""
        self._drop_late()
        batch = self._alike()[:most]
        if not batch:
            return [], None
        now, bucket = self._clock(), batch[0].bucket
        rest = self._hold(batch) - now if len(batch) < most else 0.0
        if rest > 0:
            return [], rest
        for work in batch:
            self._remove(work)
        if most > 1:  # else every batch is full, and nothing is ever held back
            self._running[taker] = max([now, *self._running.values()]) + self._expected(bucket)
        return batch, 0.0

    def done(self, taker: Hashable) -> None:
        """What was taken last is finished; `take` says so by itself."""
        self._running.pop(taker, None)

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

    def _hold(self, batch: list[Work]) -> float:
        """Until when a batch that is not full is held back."""
        bucket = batch[0].bucket
        seconds, arrivals = self._expected(bucket), self._arrivals[bucket]
        free = max(self._running.values(), default=-math.inf) - PREPARATION
        wanted = len(batch) + 1
        company = -math.inf
        if arrivals.gap * wanted < seconds:
            company = min(arrivals.last + seconds / wanted, min(work.queued for work in batch) + LONGEST_WAIT)
        return min(max(free, company), min(work.request.deadline for work in batch) - seconds)

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
