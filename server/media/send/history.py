"""What was sent to one watcher lately, to be sent again where it asks (RFC 4585, generic NACK)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

SECONDS = 2.0  # that a packet is kept: a receiver gives it up sooner
MOST_BYTES = 2 << 20  # of payloads, which all watchers of an encoding share
MOST_PACKETS = 8192
REPEAT_AFTER = 0.04  # seconds after which a packet may be sent again, so that a request said twice is answered once


@dataclass
class Sent:
    """One packet. time: when it left, clock seconds; again: when it was last asked for, or left again; timestamp:
    RTP's, as sent."""

    time: float
    timestamp: int
    marker: int
    payload: bytes
    again: float = float("-inf")


class SentHistory:
    """By sequence number, bounded in time and in size."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._packets: OrderedDict[int, Sent] = OrderedDict()
        self._bytes = 0

    def add(self, number: int, timestamp: int, marker: int, payload: bytes) -> None:
        """number: 16 bits."""
        now = self._clock()
        if (same := self._packets.pop(number, None)) is not None:
            self._bytes -= len(same.payload)
        self._packets[number] = Sent(now, timestamp, marker, payload)
        self._bytes += len(payload)
        while len(self._packets) > MOST_PACKETS or self._bytes > MOST_BYTES or self._oldest().time < now - SECONDS:
            _, gone = self._packets.popitem(last=False)
            self._bytes -= len(gone.payload)

    def get(self, number: int) -> Sent | None:
        """None where it was never sent, or is forgotten."""
        return self._packets.get(number)

    def ask(self, number: int) -> Sent | None:
        """A packet that is to be sent again now; None where that was asked a moment ago, too."""
        packet, now = self._packets.get(number), self._clock()
        if packet is None or now - packet.again < REPEAT_AFTER:
            return None
        packet.again = now
        return packet

    def repeat(self, number: int) -> Sent | None:
        """A packet that is sent again now; None where it is forgotten."""
        packet = self._packets.get(number)
        if packet is not None:
            packet.again = self._clock()
        return packet

    def _oldest(self) -> Sent:
        return next(iter(self._packets.values()))
