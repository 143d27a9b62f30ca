"""How much of each call a relay enhances, by what it tells of its streams while it is under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import httpx

EVERY = 0.5  # seconds between questions
Outcomes = Mapping[int, Mapping[str, int]]  # frames since the stream began, by its number


class Fresh:
    """Asks in a thread of its own while `watching` lasts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._told: list[tuple[float, Outcomes]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._ask, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _ask(self, over: threading.Event) -> None:
        with httpx.Client(timeout=5) as http:
            while not over.wait(EVERY):
                with suppress(httpx.HTTPError):
                    told = http.get(self._url + "/api/stats/streams").raise_for_status().json()["streams"]
                    self.add(time.monotonic(), {one["number"]: one["outcomes"] for one in told})

    def add(self, at: float, outcomes: Outcomes) -> None:
        self._told.append((at, outcomes))

    def shares(self, calls: int, seconds: float) -> list[float]:
        """The share of each call's frames that were freshly enhanced, over the last so many seconds that there were so
        many calls; empty where that was never seen twice."""
        those = [(at, told) for at, told in self._told if len(told) == calls]
        if not those or (first := _first(those, seconds)) is those[-1]:
            return []
        (_, before), (_, after) = first, those[-1]
        gained = [
            {name: count - before[number][name] for name, count in outcomes.items()}
            for number, outcomes in after.items()
            if number in before
        ]
        return [one["enhanced"] / max(1, sum(one.values())) for one in gained]


def _first(told: list[tuple[float, Outcomes]], seconds: float) -> tuple[float, Outcomes]:
    """Of those within so many seconds before the last."""
    return next(one for one in told if one[0] >= told[-1][0] - seconds)
