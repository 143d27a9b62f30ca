"""The last ten minutes, one point per second, and the minutes that have just ended, for the dashboard."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from server.observability.window import Names, Window

SECONDS = 600
MINUTES = 60  # that wait to be kept elsewhere
MAX_EVENTS = 256  # samples and counts that wait to be sorted


class History:
    """Collects one second's raw samples and counts, and keeps a point of each second gone by.

    Thread-safe and bounded. Samples and counts are only noted as they come, in the middle of the media's way, and
    sorted many at a time, at a third of the price. clock: monotonic seconds, which the seconds are counted by; wall:
    Unix time, read once.
    """

    def __init__(
        self, names: Names, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._names = names
        self._clock = clock
        self._offset = wall() - clock()
        self._lock = threading.Lock()
        self._points: deque[tuple[float, str]] = deque(maxlen=SECONDS)  # as JSON: a fifth of what dicts take
        self._minutes: deque[tuple[float, str]] = deque(maxlen=MINUTES)
        self._events: deque[tuple[float, str, float | None]] = deque()  # time, name, and a sample's value
        self._streams = {"in": 0, "out": 0}
        self.bank_exemplars = 0
        self.rungs: dict[str, int] = {}  # streams on each
        self._second = int(self._now())
        self._window, self._minute = Window(), Window()
        self.on_second: Callable[[int, Window], None] = lambda second, window: None  # what came in each that is over

    def sample(self, series: str, value: float) -> None:
        self._note(series, value)

    def count(self, name: str) -> None:
        self._note(name, None)

    def set_streams(self, direction: str, count: int) -> None:
        with self._lock:
            self._advance()
            self._streams[direction] = count

    def add(self, second: int, window: Window) -> None:
        """What another process has counted in that second (Unix time). Later seconds may not have been added before;
        where the second is over here, it is left out."""
        with self._lock:
            self._advance()
            self._go_to(second)
            if second == self._second:
                self._window.add(window)

    def points(self, after: float = 0.0) -> list[dict[str, Any]]:
        """The points of whole seconds that began later than `after` (Unix seconds), oldest first."""
        return self._later(self._points, after)

    def minutes(self, after: float = 0.0) -> list[dict[str, Any]]:
        """As points(), of whole minutes: the last hour's at most."""
        return self._later(self._minutes, after)

    def until_now(self) -> None:
        """Ends the seconds that are over, though nothing has come since."""
        with self._lock:
            self._advance()

    @property
    def now(self) -> float:
        """Unix seconds, by the clock that the points are counted by."""
        return self._now()

    def until_next(self, seconds: int = 1) -> float:
        """Seconds until the running second is over, or a longer stretch."""
        return seconds - self._now() % seconds

    def _later(self, points: deque[tuple[float, str]], after: float) -> list[dict[str, Any]]:
        with self._lock:
            self._advance()
            wanted = [point for began, point in points if began > after]
        return [json.loads(point) for point in wanted]

    def _note(self, name: str, value: float | None) -> None:
        self._events.append((self._now(), name, value))
        if len(self._events) >= MAX_EVENTS:
            with self._lock:
                self._advance()

    def _now(self) -> float:
        return self._clock() + self._offset

    def _advance(self) -> None:
        """Sorts what has come, and ends the seconds that are over."""
        while self._events:
            time, name, value = self._events.popleft()
            self._go_to(int(time))
            if value is None:
                self._window.counts[name] += 1
            else:
                self._window.sample(name, value)
        self._go_to(int(self._now()))

    def _go_to(self, second: int) -> None:
        if second > self._second + SECONDS:  # asleep for longer than is kept
            self._points.clear()
            self._minutes.clear()
            self._second, self._window, self._minute = second - SECONDS, Window(), Window()
        while self._second < second:
            self._end_second()

    def _end_second(self) -> None:
        self._points.append((float(self._second), self._told(self._window, self._second, 1)))
        self._minute.add(self._window)
        self.on_second(self._second, self._window)
        self._window = Window()
        self._second += 1
        if self._second % 60 == 0:
            began = self._second - 60
            self._minutes.append((float(began), self._told(self._minute, began, 60)))
            self._minute = Window()

    def _told(self, window: Window, began: int, seconds: int) -> str:
        now = {"bank_exemplars": self.bank_exemplars, "rungs": dict(self.rungs), "streams": dict(self._streams)}
        return json.dumps({"t": float(began), **window.point(self._names, seconds, now)})
