"""What a path carries, from when each packet left and arrived: additive and multiplicative increase while the queue
does not grow, a decrease when it does (draft-ietf-rmcat-gcc-02, section 5.5), and what probes have shown."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from server.media.send.bitrate import FULL_LOSS, HIGH_LOSS
from server.media.send.sent import Outcome
from server.media.send.trend import DelayTrend

DECREASE = 0.85  # of what arrives
RAISE = 1.08  # a second, far from where the path was last found full
NEAR = 0.15  # share around the rate at which it was full, within which the rate rises slowly
SLOW_RAISE, LEAST_RAISE = 1.03, 4000  # a second, where it was full at about this rate; bit/s in a second at least
MOST_OF_ARRIVED, HEADROOM = 1.5, 10_000  # what arrives proves no more than so many times it, plus bit/s
WINDOW = 0.5  # seconds over which arrivals are counted
DECREASE_INTERVAL = 0.4  # seconds: what arrives has to show the decrease before
STANDING = 0.02  # seconds that packets have to wait on a path for it to be full
LOSS_INTERVAL, LOSS_PACKETS = 0.5, 30  # seconds and packets over which losses are counted, at least
FORGET_FULL = 20.0  # seconds after which a path may have become wider


class ArrivalEstimate:
    """Bit/s, headers and repairs included. For one watcher."""

    def __init__(self, start: float, least: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = float(start)
        self._least, self._most = least, most
        self._clock = clock
        self._trend = DelayTrend()
        self._arrived: deque[tuple[float, int]] = deque()  # when by the watcher's clock, and bytes
        self._bytes = 0
        self._full: float | None = None  # the rate that came through when the path was last found full
        self._full_at = float("-inf")
        self._seemed_full = False  # by the message before
        self._reported = self._lost = 0  # packets, since losses were last looked at
        self._looked = clock()
        self._raised = clock()
        self._lowered = float("-inf")

    @property
    def standing(self) -> float:
        """Seconds that the newest packet took longer than the quickest lately."""
        return self._trend.standing

    @property
    def lowered(self) -> float:
        """When the path was last found to be full, clock seconds."""
        return self._lowered

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """What one message told."""
        for outcome in outcomes:
            self._reported += not outcome.again
            self._lost += (outcome.arrived is None) - outcome.again
            if outcome.arrived is not None:
                self._trend.add(outcome.sent, outcome.arrived)
                self._count(outcome.arrived, outcome.size)
        # A receiver that was busy for a moment looks like a path that becomes full, until it has caught up.
        full = self._trend.usage == "over" and self._trend.standing > STANDING
        overused, self._seemed_full = full and self._seemed_full, full
        loss = self._loss()
        if overused or loss > FULL_LOSS:  # a queue that is full does not grow any more
            self._lower()
        elif loss > HIGH_LOSS:
            self.rate = max(self.rate * (1 - 0.5 * loss), self._least)
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

    def _loss(self) -> float:
        """The share of packets, once enough have been reported; else 0."""
        now = self._clock()
        if now - self._looked < LOSS_INTERVAL or self._reported < LOSS_PACKETS:
            return 0.0
        loss = max(self._lost, 0) / self._reported
        self._reported, self._lost, self._looked = 0, 0, now
        return loss

    def _count(self, arrived: float, size: int) -> None:
        if self._arrived and arrived < self._arrived[-1][0] - WINDOW:  # a clock that was set back
            self._arrived.clear()
            self._bytes = 0
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
            raised = max(self.rate * SLOW_RAISE**elapsed, self.rate + LEAST_RAISE * elapsed)
        else:
            raised = self.rate * RAISE**elapsed
        ceiling = max(self.rate, MOST_OF_ARRIVED * self.arriving + HEADROOM)
        self.rate = min(raised, ceiling, self._most)
