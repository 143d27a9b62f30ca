"""Encoded frames as RTP payloads, and those as the packets of one watcher's stream."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import av
from aiortc import RTCRtpParameters
from aiortc.clock import current_ntp_time
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.rtp import RTP_HISTORY_SIZE, HeaderExtensions, HeaderExtensionsMap
from aiortc.utils import random16, random32, uint16_add, uint32_add

from server.media.negotiation import Section
from server.media.send.encoder import Codec

_FIXED, _EXTENSION, _NUMBER = struct.Struct("!BBHLL"), struct.Struct("!HH"), struct.Struct("!H")


def packetizer(codec: Codec) -> Callable[[av.Packet[Any]], tuple[list[bytes], int]]:
    """A function from an encoded frame to its RTP payloads (RFC 7741, RFC 6184) and RTP timestamp."""
    encoder = Vp8Encoder() if codec == "VP8" else H264Encoder()
    return encoder.pack


class RtpStream:
    """The RTP packets of one stream to one watcher, and those of it that are sent again (RFC 4588).

    ntp, rtp: when the last frame was packed, NTP time, and its RTP timestamp. sent: its timestamp in the relay's count,
    None before the first.
    """

    def __init__(self, section: Section) -> None:
        self.ssrc, self.repair_ssrc = random32(), random32()
        self.sent: int | None = None
        self.rtp = 0
        self.packets = self.octets = 0  # of what was packed the first time
        self._payload_type = section.payload_type
        self._repair_type = section.repair_type
        self._number = random16() & 0x7FFF  # no wrap soon after the start, which confuses SRTP (RFC 3711)
        self._repair_number = random16() & 0x7FFF
        self._origin = random32()
        self._mid = section.mid
        self._extensions = HeaderExtensionsMap()
        self._extensions.configure(RTCRtpParameters(headerExtensions=list(section.extensions)))
        self._history: dict[int, tuple[int, int, int, bytes]] = {}  # number, timestamp, marker, payload

    def pack(self, payloads: Sequence[bytes], timestamp: int) -> list[bytes]:
        """The packets of one frame. timestamp: in the relay's count."""
        self.sent, self.rtp = timestamp, uint32_add(self._origin, timestamp)
        first, extensions = self._header()
        packets, last = [], len(payloads) - 1
        for index, payload in enumerate(payloads):
            number, marker = self._number, int(index == last)
            fixed = _FIXED.pack(first, marker << 7 | self._payload_type, number, self.rtp, self.ssrc)
            packets.append(fixed + extensions + payload)
            self._history[number % RTP_HISTORY_SIZE] = number, self.rtp, marker, payload
            self._number = uint16_add(number, 1)
            self.octets += len(payload)
        self.packets += len(packets)
        return packets

    def repeat(self, number: int) -> bytes | None:
        """A packet that was lost, as a retransmission where the watcher speaks of them; None where it is forgotten."""
        kept = self._history.get(number % RTP_HISTORY_SIZE)
        if kept is None or kept[0] != number:
            return None
        _, timestamp, marker, payload = kept
        payload_type, ssrc = self._payload_type, self.ssrc
        if self._repair_type is not None:
            payload_type, ssrc = self._repair_type, self.repair_ssrc
            payload = _NUMBER.pack(number) + payload
            number, self._repair_number = self._repair_number, uint16_add(self._repair_number, 1)
        first, extensions = self._header()
        return _FIXED.pack(first, marker << 7 | payload_type, number, timestamp, ssrc) + extensions + payload

    def _header(self) -> tuple[int, bytes]:
        """The first byte of a packet that is sent now, and its header extensions."""
        values = HeaderExtensions(abs_send_time=current_ntp_time() >> 14 & 0xFFFFFF, mid=self._mid)
        profile, data = self._extensions.set(values)
        return (0x90, _EXTENSION.pack(profile, len(data) >> 2) + data) if data else (0x80, b"")
