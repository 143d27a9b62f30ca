"""All that touches the inside of aiortc's senders. `tests/media/test_send.py` fails when it changes.

Written against aiortc 1.15 and 1.16. Everything is set on single objects; no module of aiortc is patched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import av
from aiortc import RTCRtpTransceiver
from aiortc.codecs import get_encoder
from aiortc.codecs.base import Encoder
from aiortc.mediastreams import VIDEO_TIME_BASE, convert_timebase

from server.media.aiortc_private import set_private
from server.media.bitrate import Bitrates, TargetBitrate

KEYFRAME_INTERVAL = 0.5  # seconds between keyframes that watchers ask for


class SentFrames(Protocol):
    """Told by the encoder of one watcher; called from encoder threads."""

    def encoded(self, seconds: float) -> None: ...
    def keyframe(self, reason: str) -> None: ...


def send_video(
    transceiver: RTCRtpTransceiver, sent: SentFrames, bitrates: Bitrates, clock: Callable[[], float] = time.monotonic
) -> None:
    """Gives a sender its encoder before it starts: measured, within the bitrates, keyframes coalesced."""
    encoder = MeasuredEncoder(get_encoder(transceiver._codecs[0]), sent, bitrates, clock)
    set_private(transceiver.sender, "encoder", encoder)


class MeasuredEncoder(Encoder):
    """Wraps one of aiortc's video encoders, whose limits are module constants (VP8 at most 1.5 Mbit/s)."""

    def __init__(self, inner: Encoder, sent: SentFrames, bitrates: Bitrates, clock: Callable[[], float]) -> None:
        self._inner = inner
        self._sent = sent
        self._clock = clock
        self._target = TargetBitrate(bitrates, clock)
        self._asked = False
        self._last_keyframe = float("-inf")

    def encode(self, frame: av.VideoFrame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        started = self._clock()
        self._asked |= force_keyframe
        due = self._asked and started - self._last_keyframe >= KEYFRAME_INTERVAL
        setattr(self._inner, f"_{type(self._inner).__name__}__target_bitrate", self._target.value)
        codec = self._inner.codec
        if codec is None:
            reason = "start"
        elif (codec.width, codec.height) != (frame.width, frame.height):
            reason = "resize"
        elif abs(self._target.value - codec.bit_rate) > 0.1 * codec.bit_rate:
            reason = "bitrate"
        else:
            reason = "request" if due else None
        timestamp = convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)
        payloads, _ = self._inner.encode(frame, due)  # whose timestamps PyAV rounds to microseconds and back
        if reason:
            self._asked, self._last_keyframe = False, started
            self._sent.keyframe(reason)
        self._target.sent(sum(map(len, payloads)))
        self._sent.encoded(self._clock() - started)
        return payloads, timestamp

    def pack(self, packet: av.Packet) -> tuple[list[bytes], int]:
        return self._inner.pack(packet)

    @property
    def target_bitrate(self) -> int:
        return self._target.value

    @target_bitrate.setter
    def target_bitrate(self, estimate: int) -> None:
        self._target.estimated(estimate)
