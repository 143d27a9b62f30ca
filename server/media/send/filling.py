"""How a watcher on the reduced layer, who reports estimates of its own, can show that its path has become wide.

Such an estimate follows what the watcher is sent. So padding fills that up to the estimate, which then rises step by
step, as with media at that rate; when it falls, the path is full, and padding pauses for longer each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from server.media.send.packetize import PADDING

PAUSE, MOST_PAUSE = 5.0, 160.0  # seconds without padding: at first, and after many falls
FALL = 0.97  # times the estimate before, below which it has fallen
LONGEST = 0.2  # seconds that are made up for


class Filler:
    """Of one watcher."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pause = PAUSE
        self._resumes: float | None = None  # None: nothing is to be filled
        self._rate = 0.0
        self._credit = 0.0  # bytes
        self._last = 0.0

    def packets(self, size: int, rate: float, fills: bool) -> int:
        """Packets of padding that go with a frame. size: its bytes; rate: the estimate, bit/s; fills: whether a higher
        one would be of use."""
        now = self._clock()
        if not fills:
            self._resumes = None
            return 0
        if self._resumes is None:
            self._pause = PAUSE
            self._resumes = now + self._pause
        elif rate < FALL * self._rate:
            self._pause = min(2 * self._pause, MOST_PAUSE)
            self._resumes = now + self._pause
        elapsed, self._last, self._rate = min(now - self._last, LONGEST), now, rate
        if now < self._resumes:
            self._credit = 0.0
            return 0
        self._credit = min(self._credit + rate / 8 * elapsed - size, rate / 8 * LONGEST)
        count = max(int(self._credit // PADDING), 0)
        self._credit -= count * PADDING
        return count
