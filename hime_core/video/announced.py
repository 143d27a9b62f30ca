"""The picture's size as a frame announces it, before anything of it is decoded: VP8 and H264."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

_START, _SPS = b"\x00\x00\x01", 7
_SPS_BYTES = 512  # of a parameter set that are read: sizes stand within the first hundred or so
_VP8_KEYFRAME = b"\x9d\x01\x2a"
_CHROMA_IN_SPS = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 144, 244))  # profile_idc

Size = tuple[int, int]  # width and height, pixels


def announced_size(codec: str, data: bytes) -> Size | None:
    """The size that frames have from this one on; None where it says nothing, or what cannot be read.

    codec: VP8 or H264, data: one frame, for H264 as a byte stream with start codes. Of several sizes the largest, as
    coded: H264's are multiples of 16, of which a part may not be shown.
    """
    if codec.upper() == "VP8":
        return _vp8(data)
    return max(_h264(data), key=lambda size: size[0] * size[1], default=None)


def _vp8(data: bytes) -> Size | None:
    """RFC 6386 section 9.1."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != _VP8_KEYFRAME:
        return None
    return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF


def _h264(data: bytes) -> Iterator[Size]:
    """Of each sequence parameter set, wherever one begins: a decoder searches for them in the same way."""
    at = data.find(_START)
    while at >= 0:
        start = at + len(_START)
        if start < len(data) and data[start] & 0x1F == _SPS:
            end = data.find(_START, start)
            unit = data[start + 1 : end if end >= 0 else len(data)][:_SPS_BYTES]
            with suppress(ValueError):
                yield _sps(_Bits(unit.replace(b"\x00\x00\x03", b"\x00\x00")))
        at = data.find(_START, start)


def _sps(bits: _Bits) -> Size:
    """ITU-T H.264 section 7.3.2.1.1. Raises ValueError where it is cut short."""
    profile = bits.number(8)
    bits.number(16)  # constraints, level
    bits.golomb()  # its id
    if profile in _CHROMA_IN_SPS:
        chroma = bits.golomb()
        if chroma == 3:
            bits.number(1)
        bits.golomb()  # bit depths
        bits.golomb()
        bits.number(1)
        if bits.number(1):
            for index in range(8 if chroma != 3 else 12):
                if bits.number(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    bits.golomb()  # of frame numbers
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.number(1)
        bits.golomb()
        bits.golomb()
        for _ in range(min(bits.golomb(), 255)):
            bits.golomb()
    bits.golomb()  # reference frames
    bits.number(1)
    width, units = bits.golomb() + 1, bits.golomb() + 1
    fields = 1 if bits.number(1) else 2  # where frames may be coded as fields, a unit is 32 high
    return 16 * width, 16 * units * fields


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.golomb()
            following = (last + ((code + 1) // 2 if code & 1 else -(code // 2))) % 256
        last = following or last


class _Bits:
    """Reads bits from the front; ValueError past the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def number(self, bits: int) -> int:
        if bits > self._left:
            raise ValueError("cut short")
        self._left -= bits
        return self._value >> self._left & (1 << bits) - 1

    def golomb(self) -> int:
        """ue(v), section 9.1; se(v) are its numbers in another order."""
        zeros = 0
        while not self.number(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("no number has so many zeros in front")
        return (1 << zeros) - 1 + self.number(zeros)
