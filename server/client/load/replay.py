"""A publisher's picture: an encoded clip's frames, each at its time, and when each of them left."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any, NamedTuple

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from server.client.load.encoded import CLOCK_RATE, EncodedClip
from server.client.load.tally import count

KEPT = 20.0  # seconds that a frame is remembered: what comes later is lost
KEYFRAME_EVERY = 0.25  # seconds between keyframes that are asked for, at least
_WRAP = 1 << 32


class Sent(NamedTuple):
    """A frame that has left. number: counted by its publisher; shows: its index in the clip; time: clock seconds;
    window: the measurement's that was running."""

    number: int
    shows: int
    time: float
    window: int


class SentLog:
    """What a publisher has sent lately. window: the measurement's that runs, and may be set; late: how long after its
    time each frame has left, by window, as a Tally counts times."""

    def __init__(self, clip: EncodedClip) -> None:
        self.clip = clip
        self.window = 0
        self.late: dict[int, Counter[int]] = {}
        self._kept: deque[Sent] = deque(maxlen=max(2, round(KEPT * clip.fps)))

    @property
    def count(self) -> int:
        """Frames that have left in all."""
        return self._kept[-1].number + 1 if self._kept else 0

    def add(self, index: int, time: float, late: float = 0.0) -> None:
        """late: seconds."""
        self._kept.append(Sent(self.count, index, time, self.window))
        count(self.late.setdefault(self.window, Counter()), late)

    def showing(self, index: int, before: float) -> Sent | None:
        """The last frame of that index that left before a time."""
        return next((one for one in reversed(self._kept) if one.shows == index and one.time <= before), None)

    def at(self, timestamp: int) -> Sent | None:
        """The frame of an RTP timestamp, counted as `EncodedClip.pts`; a relay may have rounded it. None where it is
        forgotten, or was never sent."""
        if not self._kept:
            return None
        last = self._kept[-1]
        behind = (timestamp - self.clip.pts(last.number) + _WRAP // 2) % _WRAP - _WRAP // 2
        place = len(self._kept) - 1 + round(behind * self.clip.fps / CLOCK_RATE)
        return self._kept[place] if 0 <= place < len(self._kept) else None


class Replay(MediaStreamTrack):
    """Frames leave at the clip's rate; one that is late by more than a frame delays those after it, as a camera does.

    Where a keyframe is asked for, it goes on with the clip's next one.
    """

    kind = "video"

    def __init__(
        self,
        clip: EncodedClip,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__()
        self.log = SentLog(clip)
        self._clip, self._clock, self._sleep = clip, clock, sleep
        self._index = 0
        self._start: float | None = None
        self._keyframe = float("-inf")  # when the last one left

    def ask_keyframe(self) -> None:
        if self._clock() - self._keyframe >= KEYFRAME_EVERY:
            self._index = self._clip.keyframe_from(self._index)

    async def recv(self) -> av.Packet[Any]:
        """Raises MediaStreamError once it is stopped."""
        if self.readyState != "live":
            raise MediaStreamError
        number, now, interval = self.log.count, self._clock(), 1 / self._clip.fps
        if self._start is None:
            self._start = now
        due = self._start + number * interval
        await self._sleep(max(0.0, due - now))
        index, left = self._index, self._clock()
        self._start += max(0.0, left - due - interval)
        packet = av.Packet(self._clip.frames[index])
        packet.pts, packet.time_base = self._clip.pts(number), Fraction(1, CLOCK_RATE)
        if index in self._clip.keyframes:
            self._keyframe = left
        self.log.add(index, left, left - due)
        self._index = self._clip.after(index)
        return packet
