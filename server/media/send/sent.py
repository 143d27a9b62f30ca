"""Which packets left for a watcher, by the numbers of its transport-wide feedback, and what became of them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from server.media.transport_cc import PERIOD, TICK, Feedback

MOST = 4096  # packets that are remembered
SECONDS = 10.0


@dataclass(frozen=True)
class Outcome:
    """Of one packet. sent: when it left, clock seconds; arrived: by the watcher's clock, whose zero is anywhere, None
    where it has not come. size: bytes. probe: which cluster of padding it belongs to; None for media. again: whether it
    was told to be missing before, and had only been overtaken.
    """

    sent: float
    arrived: float | None
    size: int
    probe: int | None
    again: bool = False


@dataclass
class _Packet:
    sent: float
    size: int
    probe: int | None
    missing: bool = False  # as a message before has told


class SentPackets:
    """Numbers packets as they leave, and remembers them until they are reported."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = 1
        self._packets: OrderedDict[int, _Packet] = OrderedDict()  # by number, unwrapped
        self._arrived: float | None = None  # the last arrival, unwrapped

    def number(self, size: int, probe: int | None = None) -> int:
        """The number of a packet that leaves now, 16 bits. size: bytes."""
        number, now = self._next, self._clock()
        self._next += 1
        self._packets[number] = _Packet(now, size, probe)
        while len(self._packets) > MOST or next(iter(self._packets.values())).sent < now - SECONDS:
            self._packets.popitem(last=False)
        return number & 0xFFFF

    def outcomes(self, feedback: Feedback) -> list[Outcome]:
        """Of the packets that a message tells of, in the order they left. Each is told of once, but for one that comes
        after it was told to be missing."""
        base = self._next - 1 - (((self._next - 1) - feedback.base) & 0xFFFF)
        shift = self._shift(feedback)
        outcomes = []
        for number, arrived in enumerate(feedback.arrivals, base):
            packet = self._packets.get(number)
            if packet is None:
                continue
            again = packet.missing
            if arrived is not None:
                del self._packets[number]
                arrived += shift
                self._arrived = arrived
            elif again:
                continue
            packet.missing = True
            outcomes.append(Outcome(packet.sent, arrived, packet.size, packet.probe, again))
        return outcomes

    def _shift(self, feedback: Feedback) -> float:
        """Seconds to be added to the message's times, which begin anew every twelve days."""
        first = next((arrival for arrival in feedback.arrivals if arrival is not None), None)
        if first is None or self._arrived is None:
            return 0.0
        period = PERIOD * TICK
        return round((self._arrived - first) / period) * period
