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


GRAIN = 0.1  # seconds of frames that are counted together


@dataclass(frozen=True)
class Lateness:
    """Shares of frames that were late or lost, 0..1, in the last second and over some more."""

    lately: float
    longer: float


@dataclass
class _Counted:
    """Frames from then on, for as long as a grain is."""

    since: float
    late: int = 0
    frames: int = 0


class Felt:
    """Frames of all streams of this process that somebody watches; fed from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, patience: float = 0.12) -> None:
        """patience: seconds that a frame may wait for its faces."""
        self._clock, self._late = clock, max(LEAST, SHARE * patience)
        self._lock = threading.Lock()
        self._counted: deque[_Counted] = deque(maxlen=round(LONGER / GRAIN) + 1)

    def frame(self, latency: float) -> None:
        """It is on its way to a watcher, that many seconds after its last packet."""
        self._add(int(latency > self._late), 1)

    def lost(self, frames: int = 1) -> None:
        """Newer ones took their places, as nobody had come to them."""
        self._add(frames, frames)

    def now(self) -> Lateness:
        return Lateness(self._share(LATELY, FEW[0]), self._share(LONGER, FEW[1]))

    def forget(self) -> None:
        """What was before tells nothing of what comes."""
        with self._lock:
            self._counted.clear()

    def _add(self, late: int, frames: int) -> None:
        now = self._clock()
        with self._lock:
            if not self._counted or now - self._counted[-1].since >= GRAIN:
                self._counted.append(_Counted(now))
            self._counted[-1].late += late
            self._counted[-1].frames += frames

    def _share(self, seconds: float, few: int) -> float:
        oldest = self._clock() - seconds
        with self._lock:
            those = [one for one in self._counted if one.since >= oldest]
            return sum(one.late for one in those) / max(few, sum(one.frames for one in those))
