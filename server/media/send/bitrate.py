"""What bitrate an encoder aims at, from what its watchers report: REMB estimates and the loss in receiver reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from server.media.rates import RateMeter

# A change costs no keyframe, so these only keep a target from trembling with every report.
RAISE_STEP, RAISE_INTERVAL = 1.08, 1.0  # times the target; seconds since the last change
LOWER_STEP = 0.95

REDUCED = 4  # times the full layer's bitrates are the reduced one's

# Loss-based control of draft-ietf-rmcat-gcc-02, section 6.
HIGH_LOSS, LOW_LOSS, LOSS_RAISE = 0.10, 0.02, 1.05
FULL_LOSS = 0.3  # share from which on the path is taken to be full, and not only to lose packets


@dataclass(frozen=True)
class Bitrates:
    """Limits of one video encoder and where it begins, bit/s."""

    min: int = 300_000
    start: int = 2_000_000
    max: int = 4_000_000

    @property
    def reduced(self) -> Bitrates:
        """Those of the reduced layer, which has a quarter of the pixels."""
        return Bitrates(*(rate // REDUCED for rate in (self.min, self.start, self.max)))


class PathEstimate:
    """What the path to one watcher carries, bit/s; not below nothing, not above the maximum.

    It comes from when packets arrived, where the watcher reports that (`measured`), or is the watcher's own estimate.

    A receiver estimates little more than what it was sent. An estimate below the present one therefore means a narrow
    path only if it is also below the rate that was in fact sent; else a calm picture would starve the next busy one.
    """

    def __init__(self, bitrates: Bitrates, clock: Callable[[], float] = time.monotonic) -> None:
        self._bitrates = bitrates
        self._sent = RateMeter(window=1.0, clock=clock)
        self._estimate = bitrates.start
        self._by_loss = float(bitrates.max)
        self._measures = False

    @property
    def start(self) -> int:
        return self._bitrates.start

    @property
    def least(self) -> int:
        return self._bitrates.reduced.min

    @property
    def most(self) -> int:
        return self._bitrates.max

    def begin(self, rate: int) -> None:
        """Begins at that rate, bit/s, which measurements will soon correct."""
        self._estimate, self._measures = rate, True

    def measured(self, rate: float) -> None:
        """rate: by the arrival of packets, bit/s."""
        self._estimate = min(int(rate), self._bitrates.max)

    @property
    def rate(self) -> int:
        return int(min(self._estimate, self._by_loss))

    @property
    def too_narrow(self) -> bool:
        """Whether even the lowest bitrate of the reduced layer is more than the path carries."""
        return self.rate < self._bitrates.reduced.min

    @property
    def sending(self) -> int:
        """What was sent over it in the last second, bit/s."""
        return int(self._sent.rate())

    def sent(self, size: int) -> None:
        """size: bytes of one encoded frame."""
        self._sent.add(8 * size)

    def estimated(self, estimate: int) -> None:
        """estimate: what the watcher says that its path carries (REMB), bit/s."""
        if self._measures:
            return
        if estimate > self._estimate or estimate < 0.95 * self._sent.rate():
            self._estimate = min(estimate, self._bitrates.max)

    def lost(self, fraction: float) -> None:
        """fraction: of the packets since the last receiver report, 0..1. Measurements know of losses sooner."""
        if self._measures:
            return
        if fraction > HIGH_LOSS:
            rate, sent = self.rate, self._sent.rate()
            self._by_loss = rate * (1 - 0.5 * fraction)
            if fraction > FULL_LOSS and sent > 0.5 * rate:  # what came through tells how much too much it was
                self._by_loss = min(self._by_loss, sent * (1 - fraction))
        elif fraction < LOW_LOSS:
            self._by_loss = min(LOSS_RAISE * self._by_loss, self._bitrates.max)


class SharedTarget:
    """The target of a layer for several watchers, bit/s: the narrowest path's, of those above the layer's minimum.

    One whose path is too narrow even for the minimum sets nothing as long as there are others.
    """

    def __init__(self, bitrates: Bitrates, clock: Callable[[], float] = time.monotonic) -> None:
        self._bitrates = bitrates
        self._clock = clock
        self._changed = clock()
        self.value = bitrates.start

    def update(self, paths: Iterable[PathEstimate]) -> None:
        least, most = self._bitrates.min, self._bitrates.max
        wanted = min((min(path.rate, most) for path in paths if path.rate >= least), default=least)
        now = self._clock()
        if wanted > self.value:
            far_enough = wanted >= min(RAISE_STEP * self.value, self._bitrates.max)
            worth_it = far_enough and now - self._changed >= RAISE_INTERVAL
        else:
            worth_it = wanted <= max(LOWER_STEP * self.value, self._bitrates.min)
        if worth_it:
            self.value, self._changed = wanted, now
