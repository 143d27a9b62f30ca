"""RTP packets (RFC 3550) as the relay needs them: of their header extensions (RFC 8285) only the time of sending, and
the number on the whole connection."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_FIXED, _EXTENSION = struct.Struct("!BBHLL"), struct.Struct("!HH")
_ONE_BYTE, _TWO_BYTES = 0xBEDE, 0x1000  # profiles of header extensions
_MIXED = 15  # the id at which one-byte extensions end


class Packet:
    """A received packet. Its fields are named as aiortc's, which take several times the calls to read.

    arrived: clock seconds. size: bytes of payload and padding. abs_send_time: 6.18 seconds, where the sender tells.
    transport_number: among all packets of the connection, 16 bits, where the sender numbers them.
    data: the payload without its codec's descriptor, once it is known.
    """

    __slots__ = (
        "abs_send_time",
        "arrived",
        "data",
        "marker",
        "payload",
        "payload_type",
        "sequence_number",
        "size",
        "ssrc",
        "timestamp",
        "transport_number",
    )
    sequence_number: int
    timestamp: int
    ssrc: int

    def __init__(
        self, data: bytes, arrived: float, send_time_id: int | None, number_id: int | None = None
    ) -> None:  # fmt: skip
        """send_time_id, number_id: of the extensions that tell the time of sending and the number on the connection.
        Raises ValueError for what is no packet."""
        try:
            first, second, self.sequence_number, self.timestamp, self.ssrc = _FIXED.unpack_from(data)
            start, end = 12 + 4 * (first & 0x0F), len(data)
            self.abs_send_time: int | None = None
            self.transport_number: int | None = None
            if first & 0x10:
                profile, words = _EXTENSION.unpack_from(data, start)
                values, start = start + 4, start + 4 + 4 * words
                if start <= end:
                    for number, value in _extensions(data, values, start, profile):
                        if number == send_time_id and len(value) == 3:
                            self.abs_send_time = int.from_bytes(value, "big")
                        elif number == number_id and len(value) == 2:
                            self.transport_number = int.from_bytes(value, "big")
        except (struct.error, IndexError) as error:
            raise ValueError("an RTP packet cut short") from error
        self.arrived, self.size = arrived, end - start
        if first & 0x20:
            end -= data[-1] or len(data)
        if first >> 6 != 2 or start > end:
            raise ValueError("no RTP packet")
        self.marker, self.payload_type = second >> 7, second & 0x7F
        self.payload = data[start:end]
        self.data = b""

    def repaired(self, payload_type: int, ssrc: int) -> Packet | None:
        """The packet that this one, of a stream of retransmissions, repeats (RFC 4588); None where it holds none."""
        if len(self.payload) < 2:
            return None
        original = Packet.__new__(Packet)
        original.marker, original.timestamp = self.marker, self.timestamp
        original.abs_send_time = original.transport_number = None  # which are of the packet that came
        original.arrived, original.payload_type, original.ssrc = self.arrived, payload_type, ssrc
        original.sequence_number = int.from_bytes(self.payload[:2], "big")
        original.payload = self.payload[2:]
        original.size, original.data = len(original.payload), b""
        return original


def _extensions(data: bytes, start: int, end: int, profile: int) -> Iterator[tuple[int, bytes]]:
    """The ids and values of those in data[start:end]."""
    while start < end:
        head = data[start]
        start += 1
        if head == 0:  # padding
            continue
        if profile == _ONE_BYTE:
            number, length = head >> 4, (head & 0x0F) + 1
            if number == _MIXED:
                return
        elif profile == _TWO_BYTES:
            number, length = head, data[start]
            start += 1
        else:
            return
        if start + length <= end:
            yield number, data[start : start + length]
        start += length
