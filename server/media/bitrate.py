"""What bitrate an encoder aims at, from the estimates that a watcher sends (REMB)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from server.media.rates import RateMeter

# Each change rebuilds aiortc's encoder and costs a keyframe: small ones wait, and so do steps upwards.
RAISE_STEP, RAISE_INTERVAL = 1.25, 4.0  # times the target; seconds since the last change
LOWER_STEP, LOWER_INTERVAL = 0.9, 1.0


@dataclass(frozen=True)
class Bitrates:
    """Limits of one video encoder and where it begins, bit/s."""

    min: int = 300_000
    start: int = 2_000_000
    max: int = 4_000_000


class TargetBitrate:
    """The encoder's target, bit/s.

    A receiver estimates little more than what it was sent. An estimate below the target therefore means a narrow
    path only if it is also below the rate that was in fact sent; else a calm picture would starve the next busy one.
    """

    def __init__(self, bitrates: Bitrates, clock: Callable[[], float] = time.monotonic) -> None:
        self._bitrates = bitrates
        self._clock = clock
        self._sent = RateMeter(window=1.0, clock=clock)
        self._changed = clock()
        self.value = bitrates.start

    def sent(self, size: int) -> None:
        """size: bytes of one encoded frame."""
        self._sent.add(8 * size)

    def estimated(self, estimate: int) -> None:
        """estimate: what the watcher says that its path carries, bit/s."""
        wanted = max(self._bitrates.min, min(estimate, self._bitrates.max))
        since = self._clock() - self._changed
        if wanted > self.value:
            worth_it = wanted >= min(RAISE_STEP * self.value, self._bitrates.max) and since >= RAISE_INTERVAL
        else:
            narrow = estimate < 0.95 * self._sent.rate()
            worth_it = narrow and wanted <= LOWER_STEP * self.value and since >= LOWER_INTERVAL
        if worth_it:
            self.value, self._changed = wanted, self._clock()
