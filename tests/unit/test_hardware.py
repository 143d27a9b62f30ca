"""Decoding on a graphics card: probed, and never required."""

from __future__ import annotations

import av
import pytest

from server.media import hardware, rules
from server.media.hardware import find_hardware
from server.media.receive import decode
from server.media.receive.decode import Decoder
from server.media.receive.gate import FrameRules
from server.media.receive.jitter import ReceivedData
from server.media.rules import SessionRules
from server.media.send.bitrate import Bitrates
from server.media.send.encoder import TIME_BASE, VideoEncoder
from server.settings import Settings


class Sink:
    def __init__(self) -> None:
        self.frames: list[av.VideoFrame] = []
        self.failures = 0

    def receive(self, frame, received, coding) -> None:
        self.frames.append(frame)

    def lost(self, frames) -> None: ...
    def refused(self, reason) -> None: ...
    def stage(self, name, seconds) -> None: ...

    def failed(self, part) -> None:
        self.failures += 1


def pictures(count: int) -> list[bytes]:
    encoder = VideoEncoder("libx264", 320, 192, Bitrates())
    found = []
    for number in range(count):
        frame = av.VideoFrame(320, 192, "yuv420p")
        frame.pts, frame.time_base = 40_000 * number, TIME_BASE
        found.append(bytes(encoder.encode(frame, Bitrates.start, keyframe=True) or b""))
    return found


def test_the_processor_decodes_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "find_hardware", lambda: "cuda")
    found = [
        SessionRules.of(Settings(data=tmp_path, video_decoder=which), lambda reason: None).frames.hardware
        for which in ("cpu", "auto")
    ]
    assert found == [None, "cuda"]


def test_without_a_device_the_probe_finds_none_and_says_why(monkeypatch, caplog):
    monkeypatch.setattr(hardware, "DEVICE", "no-such-device")
    assert find_hardware() is None
    assert "video is decoded by the processor: no no-such-device" in caplog.text


@pytest.mark.parametrize("at", ["creation", "decoding"])
def test_a_device_that_fails_leaves_the_stream_to_the_processor(at, monkeypatch):
    made = []

    class Broken:
        def decode(self, packet):
            raise av.error.ExternalError(1, "the card is lost")

    def make(codec, pixels, device, real=decode.make_decoder):
        made.append(device)
        if device and at == "creation":
            raise PermissionError("no card")
        return Broken() if device else real(codec, pixels)

    monkeypatch.setattr(decode, "make_decoder", make)
    sink, asked = Sink(), []
    decoder = Decoder(sink, lambda: None, lambda: asked.append(1), lambda: 0.0, FrameRules(rate=1000, hardware="cuda"))  # type: ignore[arg-type]
    for number, data in enumerate(pictures(3)):
        decoder.put("H264", ReceivedData(data, 3000 * number, 0.0, 96, 1, number))
    decoder._queue.put(None)
    decoder.run()
    assert made == ["cuda", None] and len(asked) == 1
    assert len(sink.frames) >= 1 and sink.failures == (at == "creation")
