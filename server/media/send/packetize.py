"""Encoded frames as RTP payloads, and those as the packets of one watcher's stream."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import av
from aiortc.clock import current_ntp_time
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.rtp import pack_header_extensions
from aiortc.utils import random16, random32, uint16_add, uint32_add

from server.media.negotiation import ABS_SEND_TIME, PLAYOUT_DELAY, Section
from server.media.send.encoder import Codec
from server.media.send.history import SentHistory
from server.media.send.playout import AS_NEEDED
from server.media.transport_cc import URI

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
HEADER = 40  # bytes that a packet has before its payload, about: RTP's own and its extensions
PADDING = 255  # bytes of a packet that holds nothing else: the most that RTP can say

_PADDED = 0x20
_FIXED, _EXTENSION, _NUMBER = struct.Struct("!BBHLL"), struct.Struct("!HH"), struct.Struct("!H")


def packetizer(codec: Codec) -> Callable[[av.Packet[Any]], tuple[list[bytes], int]]:
    """A function from an encoded frame to its RTP payloads (RFC 7741, RFC 6184) and RTP timestamp."""
    encoder = Vp8Encoder() if codec == "VP8" else H264Encoder()
    return encoder.pack


class RtpStream:
    """The RTP packets of one stream to one watcher, and those of it that are sent again (RFC 4588).

    rtp: the last frame's RTP timestamp. sent: its timestamp in the relay's count, None before the first. playout: how
    long frames may be held back, as PlayoutDelay.value, where the watcher speaks of it. A packet is made as it leaves:
    its header says when that is.
    """

    def __init__(self, section: Section, number: Callable[[int, int | None], int] | None = None) -> None:
        """number: gives a packet that leaves now its number on the whole connection, for transport-wide feedback, by
        its size in bytes and the cluster of padding that it belongs to; None where the watcher does not speak of it."""
        self.ssrc, self.repair_ssrc = random32(), random32()
        self.sent: int | None = None
        self.rtp = 0
        self.packets = self.octets = 0  # of what was packed the first time
        self._payload_type = section.payload_type
        self._repair_type = section.repair_type
        self._number = random16() & 0x7FFF  # no wrap soon after the start, which confuses SRTP (RFC 3711)
        self._repair_number = random16() & 0x7FFF
        self._origin = random32()
        self._mid = section.mid.encode()
        self._ids = [section.extension(uri) for uri in (MID, ABS_SEND_TIME, PLAYOUT_DELAY, URI)]
        self.playout = AS_NEEDED
        self._numbered = number
        # Of that number in the header extensions, where all others are as long in each packet and cannot look like it.
        self._place = 0 if number is None else self._pack_extensions(0, 0xFFFF).index(b"\xff\xff")
        self._history = SentHistory()

    @property
    def padded(self) -> bool:
        """Whether padding can be sent: as retransmissions that hold nothing, by which no number of media is used up."""
        return self._repair_type is not None

    def pack(self, payloads: Sequence[bytes], timestamp: int, end: bool = True) -> list[bytes]:
        """The packets of one frame, or of a part of it. timestamp: in the relay's count; end: whether it is the last
        part."""
        self.sent, self.rtp = timestamp, uint32_add(self._origin, timestamp)
        packets, last = [], len(payloads) - 1
        first, extensions = self._header()
        for index, payload in enumerate(payloads):
            self._count(extensions, len(payload))
            number, marker = self._number, int(end and index == last)
            fixed = _FIXED.pack(first, marker << 7 | self._payload_type, number, self.rtp, self.ssrc)
            packets.append(fixed + extensions + payload)
            self._history.add(number, self.rtp, marker, payload)
            self._number = uint16_add(number, 1)
            self.octets += len(payload)
        self.packets += len(packets)
        return packets

    def ask(self, number: int) -> int | None:
        """The size in bytes of a packet that was asked for again; None where it is forgotten, or on its way."""
        kept = self._history.ask(number)
        return None if kept is None else len(kept.payload)

    def repeat(self, number: int) -> bytes | None:
        """A packet that was lost, as a retransmission where the watcher speaks of them; None where it is forgotten."""
        kept = self._history.repeat(number)
        if kept is None:
            return None
        timestamp, marker, payload = kept.timestamp, kept.marker, kept.payload
        payload_type, ssrc = self._payload_type, self.ssrc
        if self._repair_type is not None:
            payload_type, ssrc = self._repair_type, self.repair_ssrc
            payload = _NUMBER.pack(number) + payload
            number, self._repair_number = self._repair_number, uint16_add(self._repair_number, 1)
        first, extensions = self._header()
        self._count(extensions, len(payload))
        return _FIXED.pack(first, marker << 7 | payload_type, number, timestamp, ssrc) + extensions + payload

    def padding(self, cluster: int) -> bytes:
        """A packet that holds nothing, of a cluster of that number."""
        assert self._repair_type is not None
        number, self._repair_number = self._repair_number, uint16_add(self._repair_number, 1)
        first, extensions = self._header()
        self._count(extensions, PADDING, cluster)
        fixed = _FIXED.pack(first | _PADDED, self._repair_type, number, self.rtp, self.repair_ssrc)
        return fixed + extensions + bytes(PADDING - 1) + bytes((PADDING,))

    def _header(self) -> tuple[int, bytearray]:
        """The first byte of packets that are sent now, and their header extensions, but for their number."""
        extensions = self._pack_extensions(current_ntp_time() >> 14 & 0xFFFFFF, 0)
        return 0x90 if extensions else 0x80, extensions

    def _pack_extensions(self, time: int, number: int) -> bytearray:
        """time: of sending, 6.18 seconds; number: on the connection, where the watcher speaks of that."""
        numbered = None if self._numbered is None else _NUMBER.pack(number)
        values = self._mid, time.to_bytes(3, "big"), self.playout, numbered
        spoken = [(id_, value) for id_, value in zip(self._ids, values, strict=True) if id_ and value is not None]
        profile, data = pack_header_extensions(spoken)
        return bytearray(_EXTENSION.pack(profile, len(data) >> 2) + data if data else b"")

    def _count(self, extensions: bytearray, size: int, cluster: int | None = None) -> None:
        """Numbers a packet that is sent now, where the watcher speaks of that. size: of its payload."""
        if self._numbered is not None:
            _NUMBER.pack_into(extensions, self._place, self._numbered(size + HEADER, cluster))
