"""How a front ends: its workers end their calls, and then all is over."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from server.limits.rates import Count
from server.problems import Problem
from server.rooms.events import Event
from server.workers.process import END_WITHIN, Worker

log = logging.getLogger(__name__)


class FrontDrain:
    """As Drain of a single relay: on_over is called once, when all workers have ended, or would not end in time."""

    def __init__(
        self,
        workers: Sequence[Worker],
        seconds: float,
        tell: Callable[[Event], None],
        refused: Count,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """seconds: that calls may go on; tell: tells everybody in a room."""
        self.on_over: Callable[[], None] = lambda: None
        self.over = asyncio.Event()
        self._workers, self._seconds, self._tell, self._refused = workers, seconds, tell, refused
        self._clock = clock
        self._ends: float | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def seconds_left(self) -> float | None:
        """Until the calls are ended; None while the relay is not about to end."""
        return None if self._ends is None else max(0.0, self._ends - self._clock())

    def events(self) -> list[Event]:
        """What who begins to listen is to know."""
        left = self.seconds_left
        return [] if left is None else [Event("draining", {"seconds": round(left, 1)})]

    def check(self) -> None:
        """Raises Problem 503 where the relay is about to end: nobody begins to publish."""
        if (left := self.seconds_left) is not None:
            self._refused("draining")
            detail = "The relay is about to end, and takes nobody new; try again shortly."
            raise Problem(503, detail, {"Retry-After": str(max(1, math.ceil(left)))}, kind="draining")

    def begin(self) -> None:
        if self._task is None:
            self._ends = self._clock() + self._seconds
            for event in self.events():
                self._tell(event)
            self._end_workers()
            self._task = asyncio.create_task(self._run(), name="drain")

    def hurry(self) -> None:
        """Calls are ended now."""
        self._end_workers()

    def _end_workers(self) -> None:
        for worker in self._workers:
            worker.signal_end()

    async def _run(self) -> None:
        ended = asyncio.gather(*(worker.over.wait() for worker in self._workers))
        try:
            await asyncio.wait_for(ended, self._seconds + END_WITHIN)
        except TimeoutError:
            log.error("workers have not ended in time, and are cut")
        self.over.set()
        self.on_over()
