"""When streams step down and up: down at once, up with care."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from server.load.felt import Lateness

MUCH, MOST = 0.3, 0.7  # shares of late frames in the last second, from which on all streams step down, once and twice
SHORT = 0.07  # share of late frames over some seconds, from which on some do: the 95th percentile is to be in time
EASE = 0.03  # and up to which the machine is not short
SETTLE = 0.6  # seconds after a step down, in which frames are late that were so before
CALM = 2.0, 60.0  # seconds at ease before a step up: to begin with, and at most
UNSURE = 2  # times as long where the processor has no time to spare: others may give way to us, or not
SOON = 10.0  # seconds after a step up, within which one down doubles the wait
AT_ONCE = 4  # streams of which one steps at a time
RESERVE = 0.1  # of the processor, which is kept when streams step up


class Pace:
    """Asked at each look; for one thread."""

    def __init__(self, cores: float, clock: Callable[[], float] = time.monotonic) -> None:
        """cores: that there are."""
        self._reserve, self._clock = RESERVE * cores, clock
        self._calm = CALM[0]
        self._eased: float | None = None  # since when the machine is not short
        self._rose = self._fell = -math.inf
        self._raised = 0  # the last time

    @property
    def settling(self) -> bool:
        """Whether what is measured now is still of the time before the last step down."""
        return self._clock() - self._fell < SETTLE

    def down(self, late: Lateness, streams: int) -> int:
        """How many steps down so many streams take now, all together."""
        if late.longer > EASE:
            self._eased = None
        much, short = late.lately >= MUCH, late.longer >= SHORT
        if not (much or short) or self.settling:
            return 0
        now = self._clock()
        tried = now - self._rose < SOON
        self._calm = min(2 * self._calm, CALM[1]) if tried else CALM[0]
        self._fell, self._rose, self._eased = now, -math.inf, None
        if tried:  # what was too much is known: the others are not to lose by the try
            return self._raised
        return streams * (1 + (late.lately >= MOST)) if much else math.ceil(streams / AT_ONCE)

    def up(self, late: Lateness, streams: int, costs: float, spare: float | None) -> int:
        """How many steps up they take. costs: processor cores that one step takes; spare: those that are idle, None
        where nobody knows."""
        now = self._clock()
        if late.longer > EASE or self.settling:
            return 0
        self._eased = now if self._eased is None else self._eased
        some = math.ceil(streams / AT_ONCE)
        fit = 0 if spare is None else min(some, int((spare - self._reserve) / max(costs, 1e-6)))
        if now - max(self._eased, self._rose) < self._calm * (1 if fit > 0 else UNSURE):
            return 0
        if self._rose > self._fell:  # the step before was not too much
            self._calm = max(CALM[0], self._calm / 2)
        self._rose, self._raised = now, max(1, fit)
        return self._raised
