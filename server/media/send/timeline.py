"""A watcher's RTP timestamps, which go on through one published stream after another."""

from __future__ import annotations

import time
from collections.abc import Callable

from server.media.receive.capture import CaptureClock


class Timeline:
    """From the relay's count of each stream, which begins anew, to a count that only rises. For the event loop.

    A stream that follows another begins as much later as has gone by meanwhile: watchers see a pause, and sender
    reports of both streams fit one clock.
    """

    def __init__(self, capture: CaptureClock, clock: Callable[[], float] = time.monotonic) -> None:
        """capture: the first stream's."""
        self.capture = capture
        self._clock = clock
        self._shift: int | None = 0  # from the stream's count; None until the first timestamp of one that follows
        self._last: tuple[int, float] | None = None  # the last timestamp given, and when, clock seconds

    def go_on_with(self, capture: CaptureClock) -> None:
        """The next timestamp is another stream's."""
        self.capture = capture
        self._shift = 0 if self._last is None else None

    def place(self, timestamp: int) -> int:
        """In the watcher's count, where it is in the stream's. Called as it leaves."""
        now = self._clock()
        if self._shift is None:
            last, at = self._last or (0, now)
            self._shift = last + max(1, round((now - at) * self.capture.rate)) - timestamp
        self._last = timestamp + self._shift, now
        return self._last[0]

    def ntp(self, placed: int) -> int | None:
        """When the publisher captured it, as `CaptureClock.ntp`; None while nothing of its stream has been placed."""
        return None if self._shift is None else self.capture.ntp(placed - self._shift)
