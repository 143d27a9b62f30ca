"""Why publishers' sessions were ended because of what they sent, or did not."""

from __future__ import annotations

import time
from collections.abc import Callable

MOST_REFUSALS = 16  # names of one room; the latest are kept
REFUSAL_KEPT = 60.0  # seconds that a room tells why a session was ended
REFUSALS = {
    "pixels": "The pictures are too large: publish smaller ones.",
    "size_changes": "The pictures change their size too often.",
    "frame_rate": "The pictures come too fast.",
    "no_media": "No picture or sound has come that can be used.",
}


class Refusals:
    """Those of one room, of late."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_name: dict[str, tuple[str, float]] = {}  # why, and when; the latest comes last

    def add(self, name: str, reason: str) -> None:
        """reason: one of REFUSALS."""
        self._by_name.pop(name, None)
        self._by_name[name] = reason, self._clock()
        while len(self._by_name) > MOST_REFUSALS:
            del self._by_name[next(iter(self._by_name))]

    def lately(self) -> dict[str, str]:
        """The reasons by name."""
        now = self._clock()
        self._by_name = {name: (why, at) for name, (why, at) in self._by_name.items() if now - at < REFUSAL_KEPT}
        return {name: why for name, (why, _) in self._by_name.items()}
