"""What all workers have counted in each second, put together in the order of seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from server.observability.history import History
from server.observability.window import Window

WAIT = 2  # seconds that a worker's report of a second is waited for
LATE = WAIT + 1.5  # seconds that the front's history is behind the time, so that none comes too late for it


class MergedSeconds:
    """Feeds a history whose clock is LATE, and goes by that clock itself. For one thread."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._waiting: dict[int, list[Window]] = defaultdict(list)
        self._done = 0

    def add(self, seconds: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """As a report has them; those that come too late are left out."""
        for second, told in seconds:
            if second > self._done:
                self._waiting[second].append(Window.of(told))
        now = self._history.now + LATE
        for second in sorted(self._waiting):
            if second + 1 + WAIT <= now:
                self._done = second
                for window in self._waiting.pop(second):
                    self._history.add(second, window)
