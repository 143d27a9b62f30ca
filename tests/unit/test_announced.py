"""The size that a frame announces, read without decoding it."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hime_core.video.announced import announced_size


@cache
def encoded(encoder: str, width: int, height: int, frames: int = 1, **options: str) -> tuple[bytes, ...]:
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.options = Fraction(1, 30), options
    packets = []
    for number in range(frames):
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([(37 * number) % 200]) * plane.buffer_size)
        frame.pts = number
        packets += context.encode(frame)
    return tuple(bytes(packet) for packet in packets + context.encode(None))


def vp8(width: int, height: int, frames: int = 1) -> tuple[bytes, ...]:
    return encoded("libvpx", width, height, frames, deadline="realtime", **{"cpu-used": "8"})


def h264(width: int, height: int, frames: int = 1, **options: str) -> tuple[bytes, ...]:
    return encoded("libx264", width, height, frames, preset="ultrafast", tune="zerolatency", **options)


class Bits:
    """Writes a sequence parameter set as a stranger might."""

    def __init__(self) -> None:
        self.text = ""

    def number(self, value: int, bits: int) -> Bits:
        self.text += f"{value:0{bits}b}"
        return self

    def golomb(self, *values: int) -> Bits:
        for value in values:
            code = f"{value + 1:b}"
            self.text += "0" * (len(code) - 1) + code
        return self

    def unit(self) -> bytes:
        """With emulation prevention, behind a start code."""
        text = self.text + "1"
        raw = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
        out = bytearray()
        for byte in raw:
            if out[-2:] == b"\x00\x00" and byte <= 3:
                out.append(3)
            out.append(byte)
        return b"\x00\x00\x01\x67" + bytes(out)


def sps(width: int, height: int, profile: int = 66, order: int = 0, fields: bool = False) -> bytes:
    """Of macroblocks times 16."""
    bits = Bits().number(profile, 8).number(0, 8).number(31, 8).golomb(0)
    if profile == 100:
        bits.golomb(1, 0, 0).number(0, 1)  # 4:2:0, 8 bits
        bits.number(1, 1)  # scaling lists: one given in full, one that ends at once, the rest not
        bits.number(1, 1).golomb(*[0] * 16)
        bits.number(1, 1).golomb(16)  # se(-8): the next scale is 0
        bits.number(0, 6)
    bits.golomb(0).golomb(order)
    if order == 0:
        bits.golomb(4)
    elif order == 1:
        bits.number(0, 1).golomb(0, 0, 2, 5, 7)
    bits.golomb(1).number(0, 1)
    bits.golomb(width // 16 - 1, height // (32 if fields else 16) - 1).number(0 if fields else 1, 1)
    return bits.unit()


@pytest.mark.parametrize("size", [(160, 120), (16, 16), (334, 218), (1280, 720), (1080, 1920), (1920, 1080)])
def test_what_encoders_write_is_read(size: tuple[int, int]) -> None:
    width, height = size
    assert announced_size("VP8", vp8(width, height)[0]) == size
    coded = -(-width // 16) * 16, -(-height // 16) * 16
    assert announced_size("H264", h264(width, height)[0]) == coded
    assert announced_size("h264", h264(width, height, profile="high")[0]) == coded


def test_odd_sizes_of_vp8() -> None:
    assert announced_size("VP8", vp8(333, 217)[0]) == (333, 217)


def test_frames_that_need_others_announce_nothing() -> None:
    assert [announced_size("VP8", data) for data in vp8(160, 120, 3)] == [(160, 120), None, None]
    assert [announced_size("H264", data) for data in h264(160, 120, 3)] == [(160, 128), None, None]


@pytest.mark.parametrize("profile", [66, 77, 100])
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("fields", [False, True])
def test_parameter_sets_of_every_form(profile: int, order: int, fields: bool) -> None:
    assert announced_size("H264", sps(16384, 8192, profile, order, fields)) == (16384, 8192)


def test_of_several_parameter_sets_the_largest_counts_wherever_it_stands() -> None:
    """A picture parameter set may call on any of them later."""
    hidden = h264(160, 128)[0] + b"\x00\x00\x01\x61 something" + sps(8192, 4096) + b"\x00\x00\x00\x01\x41\x9a"
    assert announced_size("H264", hidden) == (8192, 4096)


def test_what_is_cut_short_says_nothing() -> None:
    for length in range(10):
        assert announced_size("VP8", vp8(160, 120)[0][:length]) is None
    whole = sps(8192, 4096)
    for length in range(len(whole) - 2):
        assert announced_size("H264", whole[:length]) is None


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(["VP8", "H264"]), st.binary(max_size=300), st.binary(max_size=60))
def test_no_bytes_are_an_error(codec: str, data: bytes, more: bytes) -> None:
    announced_size(codec, data)
    announced_size(codec, b"\x00\x00\x01\x67" + more + data)
    announced_size(codec, b"\x10\x02\x00\x9d\x01\x2a" + more)
