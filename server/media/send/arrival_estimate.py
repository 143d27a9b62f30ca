"""What a path carries, from when each packet left and arrived: additive and multiplicative increase while the queue
does not grow, a decrease when it does (draft-ietf-rmcat-gcc-02, section 5.5), and what probes have shown."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from server.media.send.sent import Outcome
from server.media.send.trend import DelayTrend

DECREASE = 0.85  # of what arrives
RAISE = 1.08  # a second, far from where the path was last found full
NEAR = 0.15  # share around the rate at which it was full, within which the rate rises slowly
SLOW_RAISE = 9600  # bits, a packet: added each response time where the path was full at about this rate
RESPONSE = 0.2  # seconds
MOST_OF_ARRIVED, HEADROOM = 1.5, 10_000  # what arrives proves no more than so many times it, plus bit/s
WINDOW = 0.5  # seconds over which arrivals are counted
DECREASE_INTERVAL = 0.2  # seconds
FORGET_FULL = 20.0  # seconds after which a path may have become wider


class ArrivalEstimate:
    """Bit/s. For one watcher."""

    def __init__(self, start: int, least: int, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = float(start)
        self._least, self._most = least, most
        self._clock = clock
        self._trend = DelayTrend()
        self._arrived: deque[tuple[float, int]] = deque()  # when by the watcher's clock, and bytes
        self._bytes = 0
        self._full: float | None = None  # the rate that came through when the path was last found full
        self._full_at = float("-inf")
        self._raised = clock()
        self._lowered = float("-inf")

    @property
    def lowered(self) -> float:
        """When the path was last found to be full, clock seconds."""
        return self._lowered

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """What one message told."""
        overused = False
        for outcome in outcomes:
            if outcome.arrived is not None:
                self._trend.add(outcome.sent, outcome.arrived)
                self._count(outcome.arrived, outcome.size)
                overused |= self._trend.usage == "over"
        if overused:
            self._lower()
        elif self._trend.usage == "normal":
            self._raise()
        else:
            self._raised = self._clock()

    def proven(self, rate: float) -> None:
        """A probe has come through at that rate, bit/s."""
        if rate > self.rate:
            self.rate = min(rate, self._most)
            self._full = None

    @property
    def arriving(self) -> float:
        """Bit/s, over the last half second by the watcher's clock."""
        return 8 * self._bytes / WINDOW

    def _count(self, arrived: float, size: int) -> None:
        self._arrived.append((arrived, size))
        self._bytes += size
        while self._arrived[0][0] < arrived - WINDOW:
            self._bytes -= self._arrived.popleft()[1]

    def _lower(self) -> None:
        now = self._clock()
        if now - self._lowered < DECREASE_INTERVAL:
            return
        self._raised = self._lowered = now
        arriving = self.arriving
        if arriving <= 0:
            return
        self._full, self._full_at = arriving, now
        self.rate = max(min(self.rate, DECREASE * arriving), self._least)

    def _raise(self) -> None:
        now = self._clock()
        elapsed, self._raised = min(now - self._raised, 1.0), now
        if self._full is not None and (now - self._full_at > FORGET_FULL or self.rate > (1 + NEAR) * self._full):
            self._full = None
        if self._full is not None and self.rate > (1 - NEAR) * self._full:
            raised = self.rate + max(SLOW_RAISE * elapsed / RESPONSE, 0.02 * self.rate * elapsed)
        else:
            raised = self.rate * RAISE**elapsed
        ceiling = max(self.rate, MOST_OF_ARRIVED * self.arriving + HEADROOM)
        self.rate = min(raised, ceiling, self._most)
