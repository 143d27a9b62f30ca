"""What is relied on in aiortc's sender, and what is mended there. A failure here means: aiortc has changed."""

from __future__ import annotations

import inspect

from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.codecs import CODECS, get_encoder
from aiortc.codecs.vpx import vp8_depayload

from server.media import aiortc_send as seam
from server.media.aiortc_private import private
from server.media.bitrate import Bitrates
from tests.media.helpers import numbered_frame as frame

VP8 = next(codec for codec in CODECS["video"] if codec.name == "VP8")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Sent:
    def __init__(self) -> None:
        self.keyframes: list[str] = []
        self.seconds: list[float] = []

    def encoded(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def keyframe(self, reason: str) -> None:
        self.keyframes.append(reason)


async def test_the_sender_takes_an_encoder_that_it_is_given() -> None:
    pc = RTCPeerConnection()
    sender = pc.addTransceiver("video", "sendonly").sender
    assert private(sender, "encoder") is None
    source = inspect.getsource(RTCRtpSender)
    assert "if self.__encoder is None:" in source
    assert "self.__encoder.encode, data, force_keyframe" in source
    assert "self.__encoder.target_bitrate = bitrate" in source
    for name in ("VP8", "H264"):
        encoder = get_encoder(next(codec for codec in CODECS["video"] if codec.name == name))
        assert encoder.codec is None
        assert hasattr(encoder, f"_{type(encoder).__name__}__target_bitrate")
    await pc.close()


def test_the_encoder_keeps_to_the_bitrates_and_coalesces_keyframes() -> None:
    clock, sent = Clock(), Sent()
    encoder = seam.MeasuredEncoder(get_encoder(VP8), sent, Bitrates(300_000, 2_000_000, 4_000_000), clock)
    keys = []

    def encode(number: int, wanted: bool = False, width: int = 160) -> None:
        payloads, timestamp = encoder.encode(frame(number, width), wanted)
        assert timestamp == 3000 * number
        keys.append(not vp8_depayload(payloads[0])[0] & 1)  # RFC 6386, section 9.1
        clock.now += 1 / 16

    encode(0)
    assert encoder._inner.codec.bit_rate == 2_000_000
    encode(1, wanted=True)  # too soon after the first
    for number in range(2, 14):
        encode(number, wanted=number in (3, 4))
    encode(14, width=320)
    assert sent.keyframes == ["start", "request", "resize"]
    assert [number for number, key in enumerate(keys) if key] == [0, 8, 14]
    assert len(sent.seconds) == 15
