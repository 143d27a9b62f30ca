"""Running figures of one stream: rates and smoothed values, safe to feed from any thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable


class RateMeter:
    """Amount per second over the last `window` seconds."""

    def __init__(self, window: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = window
        self._clock = clock
        self._lock = threading.Lock()
        self._events: deque[tuple[float, float]] = deque()
        self._total = 0.0
        self._start = clock()

    def add(self, amount: float = 1.0) -> None:
        with self._lock:
            self._events.append((self._clock(), amount))
            self._total += amount
            self._forget()

    def rate(self) -> float:
        """Per second, over the time observed where that is shorter than the window."""
        with self._lock:
            self._forget()
            observed = min(self._window, self._clock() - self._start)
            return self._total / max(observed, self._window / 10)

    def _forget(self) -> None:
        oldest = self._clock() - self._window
        while self._events and self._events[0][0] < oldest:
            self._total -= self._events.popleft()[1]


class Smoothed:
    """An exponentially weighted mean; None before the first value."""

    def __init__(self, weight: float = 0.1) -> None:
        self._weight = weight
        self.value: float | None = None

    def add(self, value: float) -> None:
        mean = self.value
        self.value = value if mean is None else mean + self._weight * (value - mean)
