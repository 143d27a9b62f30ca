"""Frames that were encoded beforehand, and a track that replays them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from aiortc import MediaStreamTrack

from benchmarks.shared.portrait import CLOSE_FRAMES, WALK_FRAMES, Portrait
from hime_core.video.picture import Picture
from server.client.load.marker import stamped
from server.media.send.bitrate import Bitrates
from server.media.send.encoder import VideoEncoder

CLOCK_RATE = 90000
KEYFRAMES = 50  # frames from one to the next: replaying cannot answer requests
WALK = CLOSE_FRAMES + WALK_FRAMES  # frames until the face is far


@dataclass(frozen=True)
class Clip:
    """VP8 frames of one size, replayed from the first to the last and from then on from `loop`, a keyframe. Each shows
    its index in the strip of blocks that `benchmarks.shared.portrait` reads."""

    frames: tuple[bytes, ...]
    loop: int
    fps: int
    size: tuple[int, int]

    def index(self, number: int) -> int:
        """Of the frame that is sent as the number'th."""
        return number if number < self.loop else self.loop + (number - self.loop) % (len(self.frames) - self.loop)

    def pts(self, number: int) -> int:
        return number * CLOCK_RATE // self.fps


def portrait(width: int, bitrate: int, close: bool = False, fps: int = 25, far: int = 50) -> Clip:
    """A swaying portrait whose far face has LR 32; close: it comes close and walks away before that.

    far: frames until the sway turns back.
    """
    start = 0 if close else WALK
    numbers = [*range(start, WALK + far), *range(WALK + far, WALK, -1)]
    return _encoded(numbers, [bitrate] * len(numbers), WALK - start, width, fps)


def damaged(width: int = 640, bitrate: int = 60_000, fps: int = 25) -> Clip:
    """A portrait that stays close, headshot 150 px: at a good rate until a bank has filled, then at a low one."""
    sway = [*range(CLOSE_FRAMES), *range(CLOSE_FRAMES - 2, 0, -1)]
    rates = [1_000_000] * len(sway) + [bitrate] * len(sway)
    return _encoded(sway * 2, rates, len(sway), width, fps)


def _encoded(numbers: Sequence[int], rates: Sequence[int], loop: int, width: int, fps: int) -> Clip:
    """The portrait's frames of these numbers, each at its bitrate, repeated from the `loop`th on."""
    camera = Portrait(frames=1, width=width)
    shown = {number: camera.shown(number) for number in set(numbers)}
    size = (width, width * 9 // 16)
    encoder = VideoEncoder("libvpx", *size, Bitrates(start=rates[0], max=max(rates)))
    frames = []
    for index, (number, rate) in enumerate(zip(numbers, rates, strict=True)):
        frame = stamped(Picture.from_rgb(shown[number]), index).to_frame()
        frame.pts, frame.time_base = index * CLOCK_RATE // fps, Fraction(1, CLOCK_RATE)
        keyframe = index == 0 or (index - loop) % KEYFRAMES == 0
        packet = encoder.encode(frame, rate, keyframe)
        assert packet is not None
        frames.append(bytes(packet))
    return Clip(tuple(frames), loop, fps, size)


class Replay(MediaStreamTrack):
    """Frames leave at the clip's rate; one that is late by more than a frame delays those after it, as a camera does.
    sent: when each left, clock seconds."""

    kind = "video"

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.clip = clip
        self.sent: list[float] = []
        self._start: float | None = None

    async def recv(self) -> av.Packet:
        number, now = len(self.sent), time.monotonic()
        interval = 1 / self.clip.fps
        self._start = now if self._start is None else max(self._start, now - (number + 1) * interval)
        await asyncio.sleep(max(0.0, self._start + number * interval - now))
        packet = av.Packet(self.clip.frames[self.clip.index(number)])
        packet.pts, packet.time_base = self.clip.pts(number), Fraction(1, CLOCK_RATE)
        self.sent.append(time.monotonic())
        return packet
