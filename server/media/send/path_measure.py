"""The path to one watcher who reports the arrival of its packets: measured, and probed for more."""

from __future__ import annotations

import time
from collections.abc import Callable

from server.media.send.arrival_estimate import ArrivalEstimate
from server.media.send.bitrate import PathEstimate
from server.media.send.pacing import Later
from server.media.send.playout import PlayoutDelay
from server.media.send.probing import Prober
from server.media.send.sent import SentPackets
from server.media.transport_cc import Feedback

START = 300_000  # bit/s: poor paths bear it, and on good ones the first probes show more within half a second
PAYLOAD = 0.92  # share of what is sent that is encoded pictures; the rest are headers, and room for repairs
WORTH = 0.02  # share by which an estimate has to change before anybody is told, if it has not become lower
INTERVAL = 0.25  # seconds after which they are told in any case


class PathMeasure:
    """For the event loop's thread. playout: how long the watcher is to hold frames back."""

    def __init__(
        self,
        path: PathEstimate,
        pad: Callable[[int, int], None],
        clock: Callable[[], float] = time.monotonic,
        later: Later | None = None,
    ) -> None:
        """pad: sends so many packets of padding, of the cluster of that number; later: as the prober's."""
        path.begin(min(START, path.start))
        self._path = path
        self._clock = clock
        self._sent = SentPackets(clock)
        self._wanted = path.most / PAYLOAD
        self._estimate = ArrivalEstimate(path.rate / PAYLOAD, path.least / PAYLOAD, self._wanted, clock)
        self.playout = PlayoutDelay()
        self._prober = Prober(pad, self._estimate.proven, clock, later)
        self._told = self._estimate.rate, clock()

    def number(self, size: int, cluster: int | None) -> int:
        """Of a packet that leaves now; size: bytes."""
        return self._sent.number(size, cluster)

    def add(self, feedback: Feedback) -> bool:
        """Whether the path's estimate has changed by something."""
        outcomes = self._sent.outcomes(feedback)
        self._prober.add(outcomes)
        self._estimate.add(outcomes)
        self.playout.add(self._estimate.standing)
        rate, now = self._estimate.rate, self._clock()
        self._path.measured(PAYLOAD * rate)
        before, at = self._told
        if abs(rate - before) < WORTH * before and now - at < INTERVAL:
            return False
        self._told = rate, now
        return True

    def probe(self) -> None:
        """To be called when a frame has left, and the path is free until the next one."""
        self._prober.consider(self._estimate.rate, self._wanted, self._estimate.lowered)

    def close(self) -> None:
        self._prober.close()
