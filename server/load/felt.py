"""How late pictures are: what people notice first of a machine that is short."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

SHARE = 0.75  # of the time that a frame may wait for its faces, beyond which it is late, from its last packet ...
LEAST = 0.06  # ... to its encoded ones, but for seconds that nobody sees
PART = 0.4  # seconds; a stall that is over in half a second fills no more than two of them
LATELY, LONGER = 3, 8  # parts that are looked back on: for what is bad, and for what lasts
FEW = 10  # frames that late ones of a part are at least a share of
GRAIN = 0.1  # seconds of frames that are counted together


@dataclass(frozen=True)
class Lateness:
    """Shares of frames that were late or lost, 0..1.

    lately: in each of the last few parts at least; longer: in every second one of some more. A single stall, of the
    machine or of whoever shares it, is in neither: whatever streams do without then, they would have been late.
    """

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
        self._counted: deque[_Counted] = deque(maxlen=round(LONGER * PART / GRAIN) + 1)

    def frame(self, latency: float) -> None:
        """It is on its way to a watcher, that many seconds after its last packet."""
        self._add(int(latency > self._late), 1)

    def lost(self, frames: int = 1) -> None:
        """Newer ones took their places, as nobody had come to them."""
        self._add(frames, frames)

    def now(self) -> Lateness:
        now, late, frames = self._clock(), [0] * LONGER, [0] * LONGER
        with self._lock:
            for one in self._counted:
                if (part := int((now - one.since) / PART)) < LONGER:
                    late[part] += one.late
                    frames[part] += one.frames
        shares = [some / max(FEW, all_) for some, all_ in zip(late, frames, strict=True)]
        return Lateness(min(shares[:LATELY]), sorted(shares)[LONGER // 2])

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
