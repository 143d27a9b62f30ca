"""The encoders themselves: what they give is decoded again here."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from hime_core.video.picture import Picture
from server.media.send.bitrate import Bitrates
from server.media.send.encoder import VideoEncoder, find_h264

LIMITS = Bitrates(300_000, 2_000_000, 4_000_000)
FPS = 25


def busy(number: int, width: int = 320, height: int = 180) -> av.VideoFrame:
    """Coarse noise that moves, so that an encoder uses all the bits it gets."""
    random = np.random.default_rng(number // 25)
    coarse = random.integers(40, 200, (height // 4 + 32, width // 4 + 32), dtype=np.uint8)
    luma = np.kron(np.roll(coarse, number % 25, axis=1), np.ones((4, 4), np.uint8))[:height, :width]
    luma = np.clip(luma + np.random.default_rng(number).normal(0, 8, luma.shape), 16, 235).astype(np.uint8)
    grey = np.full((height // 2, width // 2), 128, np.uint8)
    frame = Picture(luma, grey, grey).to_frame()
    frame.pts, frame.time_base = 90000 // FPS * number, Fraction(1, 90000)
    return frame


@pytest.mark.parametrize("name", ["libvpx", "libx264"])
def test_a_new_bitrate_is_kept_to_without_a_keyframe(name: str) -> None:
    encoder = VideoEncoder(name, 320, 180, LIMITS)
    rates = {}
    keyframes = []
    for phase, target in enumerate((2_000_000, 400_000, 1_500_000)):
        sizes = []
        for number in range(75 * phase, 75 * (phase + 1)):
            packet = encoder.encode(busy(number), target)
            assert packet is not None
            sizes.append(8 * packet.size)
            keyframes += [number] * packet.is_keyframe
        rates[target] = sum(sizes[25:]) * FPS / 50  # after a second
    assert keyframes == [0]
    assert rates == {target: pytest.approx(target, rel=0.35) for target in rates}


@pytest.mark.parametrize(("name", "decoder"), [("libvpx", "vp8"), ("libx264", "h264")])
def test_keyframes_come_when_asked_for_and_can_be_decoded_from(name: str, decoder: str) -> None:
    encoder = VideoEncoder(name, 320, 180, LIMITS)
    packets = [encoder.encode(busy(number), 2_000_000, keyframe=number == 10) for number in range(15)]
    assert [number for number, packet in enumerate(packets) if packet.is_keyframe] == [0, 10]
    assert [(packet.pts, packet.time_base) for packet in packets] == [(3600 * n, Fraction(1, 90000)) for n in range(15)]
    codec = av.CodecContext.create(decoder, "r")
    decoded = [frame for packet in packets[10:] for frame in codec.decode(packet)] + codec.decode(None)
    assert len(decoded) == 5
    error = np.mean((Picture.from_frame(decoded[-1]).y.astype(float) - Picture.from_frame(busy(14)).y) ** 2)
    assert 10 * np.log10(255**2 / error) > 25


def test_h264_is_what_every_browser_decodes() -> None:
    data = bytes(VideoEncoder("libx264", 320, 180, LIMITS).encode(busy(0), 2_000_000))
    sps = data.index(b"\x67")
    assert data[sps + 1] == 66 and data[sps + 2] & 0x40  # profile_idc and constraint_set1_flag: constrained baseline


@pytest.mark.parametrize("name", ["libvpx", "libx264"])
def test_uneven_and_broken_timestamps_do_no_harm(name: str) -> None:
    encoder = VideoEncoder(name, 320, 180, LIMITS)
    for number, pts in enumerate((0, 3000, 3000, 2000, 900_000_000, 900_003_000, 900_003_001)):
        frame = busy(number)
        frame.pts = pts
        packet = encoder.encode(frame, 500_000)
        assert packet is not None and packet.pts == pts


def test_without_nvenc_x264_is_found(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    create = av.CodecContext.create

    def no_card(name: str, mode: str) -> av.CodecContext:
        if name == "h264_nvenc":
            raise av.error.ExternalError(1, "no device")
        return create(name, mode)

    monkeypatch.setattr("server.media.send.encoder.av.CodecContext.create", no_card)
    with caplog.at_level("INFO"):
        assert find_h264() == "libx264"
    assert "no NVENC" in caplog.text
