"""When packets leave for a watcher: those of a usual frame at once, those of a large one, or of many repairs, spread.

A keyframe is several frames' worth. Sent at once it fills the buffers of the path, and a narrow one loses what does not
fit. No frame is left out here, and none waits for longer than MAX_DELAY: what has gathered leaves faster then.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

PACE = 2.5  # times the path's rate at which packets leave, as in libwebrtc
USUAL = 0.06  # seconds of the path's rate that may leave at once: a frame and a half at 25 frames/s
LEAST_BURST = 3600  # bytes that may, however narrow the path is: three packets
LEAST_RATE = 10_000  # bit/s that every path is taken to carry: a watcher may report nothing at all
# Of the path's rate at which repairs leave while frames wait, too. With more of it, a watcher who asks again each tenth
# of a second fills a narrow path with them, and loses what it asked for.
REPAIR_SHARE = 0.1
TICK = 0.005  # seconds between two lots
MAX_DELAY = 0.25  # seconds that a frame's last packet waits at most, and repairs while there are frames


class Timer(Protocol):
    def cancel(self) -> None: ...


Later = Callable[[float, Callable[[], None]], Timer]


def _nobody(count: int) -> None:
    """Is told of packets that are left out."""


@dataclass(frozen=True)
class _Waiting:
    """Packets that leave in one piece, as far as there is room. sizes: theirs, bytes; leave: sends so many of them;
    left_out: told how many never leave; since: clock seconds."""

    sizes: deque[int]
    leave: Callable[[int], None]
    left_out: Callable[[int], None]
    since: float


class Pacer:
    """Of one watcher's video. For the event loop's thread."""

    def __init__(
        self, rate: Callable[[], float], clock: Callable[[], float] = time.monotonic, later: Later | None = None
    ) -> None:
        """rate: the path's, bit/s; later: calls after that many seconds, the running loop's by default."""
        self._rate = rate
        self._clock = clock
        self._later = asyncio.get_running_loop().call_later if later is None else later
        self._frames: deque[_Waiting] = deque()
        self._repairs: deque[_Waiting] = deque()  # which go first
        self._bytes = 0  # of frames that wait
        self._least = 0.0  # bytes per second at which they leave in time
        self._budget = float("inf")  # bytes that may leave now
        self._spare = 0.0  # bytes of repairs that may leave now beside frames that wait
        self._budgeted = clock()
        self._timer: Timer | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not (self._frames or self._repairs)

    def put(self, sizes: Sequence[int], leave: Callable[[int], None]) -> None:
        """A frame's packets, of that many bytes. leave: sends so many of those that have not left."""
        self._refill()
        self._frames.append(_Waiting(deque(sizes), leave, _nobody, self._budgeted))
        self._bytes += sum(sizes)
        self._least = max(self._least, (self._bytes - min(self._budget, 0)) / MAX_DELAY)
        self._wake()

    def repair(
        self, sizes: Sequence[int], leave: Callable[[int], None], left_out: Callable[[int], None] = _nobody
    ) -> None:
        """Packets that are sent again, as put(): before frames that wait, but without haste, as a path that has just
        lost many would lose them again. Those that have waited for too long make room for frames, and are left out."""
        self._refill()
        self._repairs.append(_Waiting(deque(sizes), leave, left_out, self._budgeted))
        self._wake()

    def close(self) -> None:
        """What has not left stays."""
        self._frames.clear()
        self._repairs.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- inside

    def _wake(self) -> None:
        """Sends what there is room for. A timer was set by what waited before."""
        if self._timer is not None:
            self._timer.cancel()
        self._send()

    def _refill(self) -> float:
        """Bytes per second at which packets leave now."""
        now, rate = self._clock(), max(self._rate(), LEAST_RATE) / 8
        pace = max(PACE * rate, self._least) if self._frames else rate
        elapsed, self._budgeted = now - self._budgeted, now
        burst = max(USUAL * rate, LEAST_BURST)
        self._budget = min(self._budget + pace * elapsed, burst)
        self._spare = min(self._spare + REPAIR_SHARE * rate * elapsed, REPAIR_SHARE * burst)
        return pace

    def _send(self) -> None:
        """Repairs take nothing from the budget of frames that wait, so these leave in time."""
        self._timer = None
        pace = self._refill()
        if self._frames:
            self._leave_out_late()
            self._spare -= _leave(self._repairs, self._spare)
            size = _leave(self._frames, self._budget)
            self._budget -= size
            self._bytes -= size
        if not self._frames:
            self._least, self._bytes = 0.0, 0
            self._budget -= _leave(self._repairs, self._budget)
        if not self.idle and self._timer is None:
            self._timer = self._later(max(TICK, -self._budget / pace), self._send)

    def _leave_out_late(self) -> None:
        while self._repairs and self._repairs[0].since < self._budgeted - MAX_DELAY:
            late = self._repairs.popleft()
            late.left_out(len(late.sizes))


def _leave(queue: deque[_Waiting], budget: float) -> int:
    """Lets packets leave while there is budget, the last of which may be larger than that. Returns their bytes."""
    sent = 0
    while queue and sent < budget:
        waiting, count = queue[0], 0
        while waiting.sizes and sent < budget:
            sent += waiting.sizes.popleft()
            count += 1
        if not waiting.sizes:
            queue.popleft()
        waiting.leave(count)
    return sent
