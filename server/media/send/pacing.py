"""When the packets of a watcher's frames leave: those of a usual frame at once, those of a large one spread out.

A keyframe is several frames' worth. Sent at once it fills the buffers of the path, and a narrow one loses what does not
fit. Nothing is left out here, and nothing waits for longer than MAX_DELAY: what has gathered leaves faster then.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

PACE = 2.5  # times the path's rate at which packets leave, as in libwebrtc
USUAL = 0.06  # seconds of the path's rate that may leave at once: a frame and a half at 25 frames/s
LEAST_BURST = 3600  # bytes that may, however narrow the path is: three packets
TICK = 0.005  # seconds between two lots
MAX_DELAY = 0.25  # seconds that the last packet waits at most

Leave = Callable[[Sequence[bytes], int, bool], None]


class Timer(Protocol):
    def cancel(self) -> None: ...


Later = Callable[[float, Callable[[], None]], Timer]


class _Waiting:
    """A frame of which packets have not left."""

    __slots__ = ("payloads", "timestamp")

    def __init__(self, payloads: deque[bytes], timestamp: int) -> None:
        self.payloads, self.timestamp = payloads, timestamp


class Pacer:
    """Of one watcher's video. For the event loop's thread."""

    def __init__(
        self,
        leave: Leave,
        rate: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        later: Later | None = None,
    ) -> None:
        """leave: sends payloads of one frame, with its timestamp and whether they are its last; rate: the path's,
        bit/s; later: calls after that many seconds, the running loop's by default."""
        self._leave = leave
        self._rate = rate
        self._clock = clock
        self._later = asyncio.get_running_loop().call_later if later is None else later
        self._frames: deque[_Waiting] = deque()
        self._bytes = 0  # that wait
        self._least = 0.0  # bytes per second at which what waits leaves in time
        self._budget = float("inf")  # bytes that may leave now
        self._budgeted = clock()
        self._timer: Timer | None = None

    @property
    def waiting(self) -> int:
        """Bytes that have not left."""
        return self._bytes

    def put(self, payloads: Sequence[bytes], timestamp: int) -> None:
        self._frames.append(_Waiting(deque(payloads), timestamp))
        self._bytes += sum(map(len, payloads))
        self._least = max(self._least, self._bytes / MAX_DELAY)
        if self._timer is None:
            self._send()

    def spend(self, size: int) -> None:
        """So many bytes left without waiting, such as packets that were sent again."""
        self._refill()
        self._budget -= size

    def close(self) -> None:
        """What has not left stays."""
        self._frames.clear()
        self._bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- inside

    def _refill(self) -> float:
        """Bytes per second at which packets leave now."""
        now, rate = self._clock(), self._rate() / 8
        pace = max(PACE * rate, self._least)
        self._budget = min(self._budget + pace * (now - self._budgeted), max(USUAL * rate, LEAST_BURST))
        self._budgeted = now
        return pace

    def _send(self) -> None:
        self._timer = None
        pace = self._refill()
        while self._frames and self._budget > 0:
            frame, lot, size = self._frames[0], [], 0
            while frame.payloads and self._budget > size:
                lot.append(frame.payloads.popleft())
                size += len(lot[-1])
            self._budget -= size
            self._bytes -= size
            if not frame.payloads:
                self._frames.popleft()
            self._leave(lot, frame.timestamp, not frame.payloads)
        if not self._frames:
            self._least = 0.0
        else:
            self._timer = self._later(max(TICK, -self._budget / pace), self._send)
