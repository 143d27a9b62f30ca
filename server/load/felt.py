"""How late pictures are: what people notice first of a machine that is short."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

SHARE = 0.75  # of the time that a frame may wait for its faces, beyond which it is late, from its last packet ...
LEAST = 0.06  # ... to its encoded ones, but for seconds that nobody sees
LATELY, LONGER = 1.0, 3.0  # seconds that are looked back on: for what is bad, and for what lasts
FEW = 25, 50  # frames that late ones are at least a share of, in these


@dataclass(frozen=True)
class Lateness:
    """Shares of frames that were late or lost, 0..1, in the last second and over some more."""

    lately: float
    longer: float


class Felt:
    """Frames of all streams of this process that somebody watches; fed from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, patience: float = 0.12) -> None:
        """patience: seconds that a frame may wait for its faces."""
        self._clock, self._late = clock, max(LEAST, SHARE * patience)
        self._lock = threading.Lock()
        self._frames: deque[tuple[float, bool]] = deque()  # when each came out, or was lost, and whether it was late

    def frame(self, latency: float) -> None:
        """It is on its way to a watcher, that many seconds after its last packet."""
        self._add(latency > self._late)

    def lost(self, frames: int = 1) -> None:
        """Newer ones took their places, as nobody had come to them."""
        for _ in range(frames):
            self._add(True)

    def now(self) -> Lateness:
        with self._lock:
            self._forget()
            longer = [late for _, late in self._frames]
            since = self._clock() - LATELY
            lately = [late for at, late in self._frames if at >= since]
        return Lateness(sum(lately) / max(FEW[0], len(lately)), sum(longer) / max(FEW[1], len(longer)))

    def forget(self) -> None:
        """What was before tells nothing of what comes."""
        with self._lock:
            self._frames.clear()

    def _add(self, late: bool) -> None:
        with self._lock:
            self._frames.append((self._clock(), late))
            self._forget()

    def _forget(self) -> None:
        oldest = self._clock() - LONGER
        while self._frames and self._frames[0][0] < oldest:
            self._frames.popleft()
