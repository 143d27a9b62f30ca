"""What an RTP payload tells about its frame before it is decoded: VP8 (RFC 7741) and H264 (RFC 6184)."""

from __future__ import annotations

from typing import NamedTuple

_SLICE, _IDR, _SPS, _DELIMITER, _STAP_A, _FU_A = 1, 5, 7, 9, 24, 28


class PayloadInfo(NamedTuple):
    """begins: certainly the first packet of its frame. intra: holds the start of a picture that needs no other.

    discardable: no other picture needs this one.
    """

    begins: bool = False
    intra: bool = False
    discardable: bool = False


def payload_info(codec: str, payload: bytes) -> PayloadInfo:
    """codec: VP8 or H264; of others, and of padding, nothing is known."""
    try:
        if codec.upper() == "VP8":
            return _vp8(payload)
        if codec.upper() == "H264":
            return _h264(payload)
    except IndexError:  # cut short
        pass
    return PayloadInfo()


def vp8_data(payload: bytes) -> bytes:
    """A VP8 payload without its descriptor. Raises ValueError where that is cut short."""
    try:
        start = _vp8_descriptor(payload)
    except IndexError as error:
        raise ValueError("a VP8 payload descriptor cut short") from error
    if start > len(payload):
        raise ValueError("a VP8 payload descriptor cut short")
    return payload[start:]


def _vp8_descriptor(payload: bytes) -> int:
    """Its length, bytes."""
    if not payload[0] & 0x80:
        return 1
    extensions, length = payload[1], 2
    if extensions & 0x80:
        length += 2 if payload[length] & 0x80 else 1
    return length + bool(extensions & 0x40) + bool(extensions & 0x30)


def _vp8(payload: bytes) -> PayloadInfo:
    first = payload[0]
    begins = bool(first & 0x10) and not first & 0x07  # the start of partition 0
    return PayloadInfo(begins, begins and not payload[_vp8_descriptor(payload)] & 1, bool(first & 0x20))


def _h264(payload: bytes) -> PayloadInfo:
    """Keyframes of WebRTC carry their parameter sets in front (RFC 7742, section 6.2)."""
    kind, unneeded = payload[0] & 0x1F, not payload[0] & 0x60
    starts = True
    if kind == _STAP_A:
        kinds, position = [], 1
        while position + 2 < len(payload):
            kinds.append(payload[position + 2] & 0x1F)
            position += 2 + int.from_bytes(payload[position : position + 2], "big")
        return PayloadInfo(kinds[0] in (_SPS, _DELIMITER), not {_SPS, _IDR}.isdisjoint(kinds))
    if kind == _FU_A:
        kind, starts = payload[1] & 0x1F, bool(payload[1] & 0x80)
    return PayloadInfo(
        starts and kind in (_SPS, _DELIMITER), starts and kind in (_SPS, _IDR), kind == _SLICE and unneeded
    )
