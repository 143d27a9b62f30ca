"""The last ten minutes, one point per second, for the dashboard."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

SECONDS = 600
MAX_SAMPLES = 5000  # per series and second: 200 faces at 25 fps
MAX_EVENTS = 256  # samples and counts that wait to be sorted


class History:
    """Collects one second's raw samples and counts, and keeps a point of each second gone by.

    Thread-safe and bounded. Samples and counts are only noted as they come, in the middle of the media's way, and
    sorted many at a time, at a third of the price. clock: monotonic seconds, which the seconds are counted by; wall:
    Unix time, read once.
    """

    def __init__(
        self,
        outcomes: Sequence[str],
        bypasses: Sequence[str],
        levels: Sequence[str],
        recognitions: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._outcomes, self._bypasses, self._levels = outcomes, bypasses, levels
        self._recognitions = recognitions
        self._clock = clock
        self._offset = wall() - clock()
        self._lock = threading.Lock()
        self._points: deque[tuple[float, str]] = deque(maxlen=SECONDS)  # as JSON: a fifth of what dicts take
        self._events: deque[tuple[float, str, float | None]] = deque()  # time, name, and a sample's value
        self._streams = {"in": 0, "out": 0}
        self.bank_exemplars = 0
        self._begin(int(self._now()))

    def sample(self, series: str, value: float) -> None:
        self._note(series, value)

    def count(self, name: str) -> None:
        self._note(name, None)

    def set_streams(self, direction: str, count: int) -> None:
        with self._lock:
            self._advance()
            self._streams[direction] = count

    def points(self, after: float = 0.0) -> list[dict[str, Any]]:
        """The points of whole seconds that began later than `after` (Unix seconds), oldest first."""
        with self._lock:
            self._advance()
            wanted = [point for second, point in self._points if second > after]
        return [json.loads(point) for point in wanted]

    def until_next(self) -> float:
        """Seconds until the running second is over."""
        return 1.0 - self._now() % 1.0

    def _note(self, name: str, value: float | None) -> None:
        self._events.append((self._now(), name, value))
        if len(self._events) >= MAX_EVENTS:
            with self._lock:
                self._advance()

    def _now(self) -> float:
        return self._clock() + self._offset

    def _begin(self, second: int) -> None:
        self._second = second
        self._samples: dict[str, list[float]] = defaultdict(list)
        self._seen: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def _advance(self) -> None:
        """Sorts what has come, and ends the seconds that are over."""
        while self._events:
            time, name, value = self._events.popleft()
            self._go_to(int(time))
            if value is None:
                self._counts[name] += 1
            else:
                self._add(self._samples[name], self._seen[name], value)
                self._seen[name] += 1
        self._go_to(int(self._now()))

    def _add(self, samples: list[float], seen: int, value: float) -> None:
        if len(samples) < MAX_SAMPLES:
            samples.append(value)
        else:
            samples[seen % MAX_SAMPLES] = value

    def _go_to(self, second: int) -> None:
        if second > self._second + SECONDS:  # asleep for longer than is kept
            self._points.clear()
            self._begin(second - SECONDS)
        while self._second < second:
            self._points.append((float(self._second), json.dumps(self._point())))
            self._begin(self._second + 1)

    def _point(self) -> dict[str, Any]:
        samples = dict(self._samples)
        named = "frame_latency", "batch_size", "reference_gap", "quantizer_step"
        latency, batches, gaps, steps = (samples.pop(name, []) for name in named)
        return {
            "t": float(self._second),
            "stages": {name: self._percentiles(name, values) for name, values in samples.items()},
            "frame_latency": self._percentiles("frame_latency", latency),
            "fps_in": float(self._counts["fps_in"]),
            "fps_out": float(self._counts["fps_out"]),
            "outcomes": {name: self._counts[name] for name in self._outcomes},
            "bypass": {name: self._counts[name] for name in self._bypasses},
            "demand": {name: self._counts[name] for name in self._levels},
            "recognition": {name: self._counts[f"recognition {name}"] for name in self._recognitions},
            "batch_size": _mean(batches),
            "bank_exemplars": self.bank_exemplars,
            "reference_gap_s": _mean(gaps),
            "quantizer_step": _mean(steps),
            "streams": dict(self._streams),
        }

    def _percentiles(self, series: str, seconds: list[float]) -> dict[str, Any]:
        """Milliseconds; null without samples."""
        if not seconds:
            return {"p50": None, "p95": None, "p99": None, "count": 0}
        p50, p95, p99 = (round(float(value) * 1000, 3) for value in np.percentile(seconds, (50, 95, 99)))
        return {"p50": p50, "p95": p95, "p99": p99, "count": self._seen[series]}


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None
