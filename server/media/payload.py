"""What an RTP payload tells about its frame before it is decoded: VP8 (RFC 7741) and H264 (RFC 6184)."""

from __future__ import annotations

from dataclasses import dataclass

_SLICE, _IDR, _SPS, _DELIMITER, _STAP_A, _FU_A = 1, 5, 7, 9, 24, 28


@dataclass(frozen=True)
class PayloadInfo:
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


def _vp8(payload: bytes) -> PayloadInfo:
    first, position = payload[0], 1
    if first & 0x80:
        extensions, position = payload[1], 2
        if extensions & 0x80:
            position += 2 if payload[position] & 0x80 else 1
        position += bool(extensions & 0x40) + bool(extensions & 0x30)
    begins = bool(first & 0x10) and not first & 0x07  # the start of partition 0
    return PayloadInfo(begins, begins and not payload[position] & 1, bool(first & 0x20))


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
