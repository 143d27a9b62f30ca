"""Which worker has which participant."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.workers.report import Key, Report


class Pins:
    """A name is a worker's from the first offer to publish under it, for as long as it is in use there. For the event
    loop.

    Who has left is remembered by a worker; until that is over, the name goes there if the worker takes newcomers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pinned: dict[Key, int] = {}
        self._answered: dict[Key, float] = {}  # when an offer was answered last
        self._arriving: Counter[Key] = Counter()
        self._remembered: dict[Key, int] = {}
        self._watchers: dict[int, int] = {}

    def of(self, key: Key) -> int | None:
        """Who has the name in use."""
        return self._pinned.get(key)

    def remembered_by(self, key: Key) -> int | None:
        return self._remembered.get(key)

    @property
    def rooms(self) -> set[str]:
        """Those that a name is in use in."""
        return {room for room, _ in self._pinned}

    def load(self, worker: int) -> float:
        """What it carries: a publisher costs as much as four watchers, as one is decoded, searched and enhanced for all
        who watch."""
        return Counter(self._pinned.values())[worker] + self._watchers.get(worker, 0) / 4

    @contextmanager
    def arriving(self, key: Key, worker: int) -> Iterator[None]:
        """While an offer to publish is answered there."""
        self._pinned[key] = worker
        self._arriving[key] += 1
        try:
            yield
        finally:
            self._arriving[key] -= 1
            if not self._arriving[key]:
                del self._arriving[key]
            if self._pinned.get(key) == worker:
                self._answered[key] = self._clock()

    def reported(self, worker: int, report: Report, asked: float) -> None:
        """asked: the clock's seconds when the report was asked for; what was answered later is not in it yet."""
        used = report.used
        for key in [key for key, at in self._pinned.items() if at == worker]:
            if key not in used and not self._arriving[key] and self._answered.get(key, 0.0) < asked:
                self._unpin(key)
        self._remembered = {key: at for key, at in self._remembered.items() if at != worker}
        self._remembered.update(dict.fromkeys(report.remembered, worker))
        self._watchers[worker] = report.watchers

    def gone(self, worker: int) -> None:
        """It has ended: its names are free."""
        for key in [key for key, at in self._pinned.items() if at == worker]:
            self._unpin(key)
        self._remembered = {key: at for key, at in self._remembered.items() if at != worker}
        self._watchers.pop(worker, None)

    def _unpin(self, key: Key) -> None:
        del self._pinned[key]
        self._answered.pop(key, None)
