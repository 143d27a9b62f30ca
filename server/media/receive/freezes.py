"""Freezes as W3C's webrtc-stats counts them (`freezeCount`, `totalFreezesDuration`)."""

from __future__ import annotations

from collections import deque

FRAMES = 30  # intervals that the average is taken of
PAUSE = 5.0  # seconds; what is longer is a pause, such as a camera switched off (`pauseCount`)


class Freezes:
    """Counts the intervals between frames of at least max(3 × their average, average + 150 ms)."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self._intervals: deque[float] = deque(maxlen=FRAMES)
        self._last: float | None = None

    def add(self, time: float) -> bool:
        """A frame shown at that time, seconds. Whether the picture had been frozen before it."""
        last, self._last = self._last, time
        if last is None or time - last >= PAUSE:
            return False
        interval = time - last
        average = sum(self._intervals) / len(self._intervals) if self._intervals else interval
        frozen = interval >= max(3 * average, average + 0.15)
        self._intervals.append(interval)
        if frozen:
            self.count += 1
            self.seconds += interval
        return frozen
