"""A watcher behind a simulated path, on a clock of its own: what the relay's estimate of it comes to."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from server.media.receive.arrivals import Arrivals
from server.media.send.bitrate import Bitrates, PathEstimate
from server.media.send.pacing import Pacer
from server.media.send.packetize import HEADER, PADDING
from server.media.send.path_measure import PathMeasure
from server.media.transport_cc import Feedback


class Clock:
    """now: seconds; what is to happen later happens in its order while the time passes."""

    def __init__(self) -> None:
        self.now = 100.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer()
        heapq.heappush(self._due, (self.now + seconds, next(self._count), lambda: timer.cancelled or call()))
        return timer

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, call = heapq.heappop(self._due)
            call()
        self.now = end


class Timer:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Path:
    """rate: bit/s; queue: seconds of it; delay, jitter: seconds; loss: share; stall: seconds that the watcher is busy
    with other things, at most, now and then."""

    rate: float
    queue: float = 0.2
    delay: float = 0.02
    jitter: float = 0.0
    loss: float = 0.0
    stall: float = 0.0
    free: float = 0.0


@dataclass
class Watcher:
    """Frames at 25 a second, at the rate that the path's estimate tells, or at most `content` bit/s, or at that of an
    encoder for others as well, bit/s. padded: whether it takes padding."""

    path: Path
    content: float = 4_000_000
    others: float | None = None
    padded: bool = True
    bitrates: Bitrates = field(default_factory=Bitrates)
    offset: float = 5000.0  # seconds that the watcher's clock is ahead

    def __post_init__(self) -> None:
        self.clock, self._chance = Clock(), random.Random(2)
        self.estimate = PathEstimate(self.bitrates, self.clock)
        self.measure = PathMeasure(self.estimate, self._pad, self.clock, self.clock.later)
        self.pacer = Pacer(lambda: self.estimate.rate, self.clock, self.clock.later)
        self.arrivals = Arrivals(1, self._report)
        self.padding = self.lost = self.came = 0  # packets
        self.delays: list[float] = []
        self._busy = 0.0
        self._frame()

    def run(self, seconds: float) -> None:
        self.clock.run(seconds)

    def _frame(self) -> None:
        rate = min(self.estimate.rate, self.content) if self.others is None else self.others
        size = int(rate / 25 / 8 * self._chance.uniform(0.7, 1.3))
        self.estimate.sent(size)
        sizes = deque(min(1200, size - at) for at in range(0, size, 1200))
        self.pacer.put(sizes, lambda count: [self._send(sizes.popleft() + HEADER, None) for _ in range(count)])
        if self.pacer.idle:
            self.measure.probe()
        self.clock.later(0.04, self._frame)

    def _pad(self, count: int, cluster: int) -> None:
        if not self.padded:
            return
        self.padding += count
        for _ in range(count):
            self._send(PADDING + HEADER, cluster)

    def _send(self, size: int, cluster: int | None) -> None:
        number, path, now = self.measure.number(size, cluster), self.path, self.clock.now
        begins = max(now, path.free)
        if begins - now > path.queue or self._chance.random() < path.loss:
            self.lost += 1
            return
        path.free = begins + 8 * size / path.rate
        arrives = path.free + path.delay + self._chance.uniform(0, path.jitter)
        if path.stall and arrives > self._busy + self._chance.uniform(0.1, 0.8):
            self._busy = arrives + self._chance.uniform(0, path.stall)
        arrives = max(arrives, self._busy)
        self.delays.append(arrives - now)
        self.clock.later(arrives - now, lambda: self._arrive(number))

    def _arrive(self, number: int) -> None:
        self.came += 1
        self.arrivals.add(number, self.clock.now + self.offset, 2)

    def _report(self, message: bytes) -> None:
        self.clock.later(self.path.delay, lambda: self.measure.add(Feedback.parse(message)))
