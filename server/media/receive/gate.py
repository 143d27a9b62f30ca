"""Which frames of a stream are decoded, and which decoded ones go on: pictures can be dear that are cheap to send."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hime_core.video.announced import Size, announced_size

BURST = 0.5  # seconds of frames that may come at once, as they do when a lost packet has come after all
DECODED = 2.0  # times the allowed rate that is decoded: what others need cannot be left out, and decoding is cheap

PIXELS, SIZE_CHANGES, FRAME_RATE = "pixels", "size_changes", "frame_rate"


@dataclass(frozen=True)
class FrameRules:
    """Of one published stream. pixels: of a picture; rate: frames per second; size_changes: of its size or codec per
    second. hardware: libavcodec's name of the device that decodes it; None: the processor."""

    pixels: int = 1920 * 1088
    rate: float = 60.0
    size_changes: float = 2.0
    hardware: str | None = None


class FrameGate:
    """Of one stream, for the decoder's thread. Once a frame has been left out, so are all that follow up to the next
    keyframe that is allowed: they could not be decoded without."""

    def __init__(self, rules: FrameRules, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._now: tuple[str, Size | None] = "", None  # the codec and size that the decoder is set to
        self._closed = ""  # why frames up to the next keyframe are left out
        self._changes = _Bucket(rules.size_changes, max(2.0, 2 * rules.size_changes), clock)
        self._decoded = _Bucket(DECODED * rules.rate, DECODED * rules.rate * BURST, clock)
        self._shown = _Bucket(rules.rate, rules.rate * BURST, clock)

    def refuses(self, codec: str, data: bytes) -> str:
        """Why a frame is not to be decoded: pixels, size_changes or frame_rate; "" where it is. Every frame is put to
        it, in order."""
        size = announced_size(codec, data)
        if size is not None or codec != self._now[0]:
            self._closed = self._begin(codec, size)
        if not self._closed and not self._decoded.take():
            self._closed = FRAME_RATE
        return self._closed

    def shows(self) -> bool:
        """Whether a decoded frame goes on."""
        return self._shown.take()

    def _begin(self, codec: str, size: Size | None) -> str:
        if size is not None and size[0] * size[1] > self._rules.pixels:
            return PIXELS
        if (codec, size) != self._now:
            if not self._changes.take():
                return SIZE_CHANGES
            self._now = codec, size
        return ""


class _Bucket:
    """`rate` a second, `burst` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, max(1.0, burst), clock
        self._left, self._since = self._burst, clock()

    def take(self) -> bool:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
