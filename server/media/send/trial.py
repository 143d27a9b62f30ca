"""The full layer on trial, for a watcher whom no padding can be sent to: its estimate follows what the reduced layer
happens to be, and nothing else could show that its path has become wide.

A trial comes after a long calm, and ends when the path is found full: more is sent than it is known to carry, and that
is lost, or does not become more. Each one that fails doubles the calm before the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from server.media.send.bitrate import HIGH_LOSS

CALM, MOST_CALM = 20.0, 640.0  # seconds before a trial: at first, and after many that failed
FALL = 0.9  # times the highest rate lately, below which the path was found full
RISE, STUCK = 1.05, 3.0  # times; seconds in which the rate has to become more while more than it is sent


@dataclass(frozen=True)
class Unpadded:
    """What is known of such a path besides its rate. sending: over the last second, bit/s; loss: share of packets."""

    sending: float
    loss: float


class Trial:
    """Of one watcher."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.running = False
        self._clock = clock
        self._calm = CALM
        self._rate = 0.0  # the highest since the path was last found full; in a trial, as of the last rise
        self._since = clock()  # when that was

    def due(self, rate: float, path: Unpadded) -> bool:
        """While the watcher gets the reduced layer. rate: what the path is known to carry, bit/s. Begins the trial."""
        now = self._clock()
        if rate < FALL * self._rate or path.loss > HIGH_LOSS:
            self._rate, self._since = rate, now
        self._rate = max(self._rate, rate)
        if now - self._since < self._calm:
            return False
        self.running, self._rate, self._since = True, rate, now
        return True

    def fails(self, rate: float, path: Unpadded) -> bool:
        """While it runs."""
        now = self._clock()
        if rate >= RISE * self._rate or path.sending <= rate:
            self._rate, self._since = max(rate, self._rate), now
        return rate < FALL * self._rate or path.loss > HIGH_LOSS or now - self._since >= STUCK

    def end(self) -> None:
        """The watcher gets the full layer for good."""
        self.running = False

    def fall(self, rate: float, soon: bool) -> None:
        """The watcher falls to the reduced layer. soon: after it came up."""
        self._calm = min(2 * self._calm, MOST_CALM) if self.running or soon else CALM
        self.running, self._rate, self._since = False, rate, self._clock()
