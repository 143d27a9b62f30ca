"""Why frames of a stream are left out now, and for how long that has been so."""

from __future__ import annotations

import time
from collections.abc import Callable

RECENT = 2.0  # seconds after the last frame that was left out, in which that still is so


class Refusals:
    """Fed by the decoder's thread, read by the event loop's: each attribute is set whole."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reason = ""
        self._last = float("-inf")
        self._alone_since: float | None = None  # from when on no frame has gone through

    def add(self, reason: str) -> None:
        self._reason, self._last = reason, self._clock()
        if self._alone_since is None:
            self._alone_since = self._last

    def passed(self) -> None:
        """A frame went through."""
        self._alone_since = None

    @property
    def now(self) -> str | None:
        """Why frames are left out, None where they are not."""
        return self._reason if self._clock() - self._last < RECENT else None

    @property
    def alone(self) -> float:
        """Seconds for which all frames have been left out; 0 where the newest was not."""
        since = self._alone_since
        return 0.0 if since is None else self._clock() - since
