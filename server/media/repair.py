"""What a receiver does about missing packets: when to ask for each again, and when for a keyframe. Pure bookkeeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

GAP_DEADLINE = 0.06, 0.4  # seconds: the least and the most that a gap is waited for before a keyframe is asked for
MAX_AGE = 1.0  # seconds; past that a packet is not asked for any more, senders have forgotten it
MAX_ASKED_AT_ONCE = 256  # packets in one NACK
TWICE_FROM, TWICE_AFTER = 0.04, 0.01  # seconds, see Retransmissions
KEYFRAME_INTERVAL = 0.3  # seconds between two requests, plus the round trip


class RoundTrip:
    """Smoothed round-trip time and its variation (RFC 6298, with more weight on new samples, as they are few)."""

    def __init__(self, initial: float = 0.1) -> None:
        """initial: seconds that are assumed until the first sample."""
        self.seconds = initial
        self.variation = initial / 2
        self._sampled = False

    def add(self, sample: float) -> None:
        if self._sampled:
            self.variation += (abs(sample - self.seconds) - self.variation) / 4
            self.seconds += (sample - self.seconds) / 4
        else:
            self.seconds, self.variation, self._sampled = sample, sample / 2, True

    @property
    def answer(self) -> float:
        """Seconds in which nearly every answer has come."""
        return self.seconds + max(0.01, 2 * self.variation)

    @property
    def gap_deadline(self) -> float:
        """Seconds that are left to retransmission: two attempts, within GAP_DEADLINE."""
        least, most = GAP_DEADLINE
        return min(max(2 * self.answer, least), most)


@dataclass
class _Missing:
    since: float
    asked: int
    next: float


class Retransmissions:
    """The packets that are missing, by unwrapped sequence number, and when to ask for each (RFC 4585, generic NACK).

    A packet is asked for at once and again after each round trip without it. Where a round trip is so long that a lost
    request or answer would be seen as a freeze, each request is sent twice, a moment apart: a few bytes that make a
    second loss ten times rarer.
    """

    def __init__(self, round_trip: RoundTrip, clock: Callable[[], float] = time.monotonic) -> None:
        self._round_trip = round_trip
        self._clock = clock
        self._missing: dict[int, _Missing] = {}  # in order of their numbers

    def missing(self, first: int, end: int) -> None:
        """The packets first..end-1 have been overtaken."""
        now = self._clock()
        self._missing.update((number, _Missing(now, 0, now)) for number in range(first, end))

    def arrived(self, number: int) -> bool:
        """Whether the packet was missing."""
        return self._missing.pop(number, None) is not None

    def forget(self, end: int) -> int:
        """Gives up the packets before `end`; how many were missing."""
        given_up = [number for number in self._missing if number < end]
        for number in given_up:
            del self._missing[number]
        return len(given_up)

    def oldest(self, start: int) -> float | None:
        """When the first of the packets that are missing from there on was found missing."""
        return next((missing.since for number, missing in self._missing.items() if number >= start), None)

    def ask(self) -> list[int]:
        """The packets to ask for now; counts as asked."""
        now, asked = self._clock(), []
        twice = self._round_trip.seconds >= TWICE_FROM
        for number, missing in self._missing.items():
            if missing.next <= now and len(asked) < MAX_ASKED_AT_ONCE:
                asked.append(number)
                soon = twice and missing.asked % 2 == 0
                missing.asked += 1
                missing.next = now + (TWICE_AFTER if soon else self._round_trip.answer)
                if missing.next > missing.since + MAX_AGE:
                    missing.next = float("inf")
        return asked

    @property
    def due(self) -> float | None:
        """When there is something to ask for next."""
        due = min((missing.next for missing in self._missing.values()), default=float("inf"))
        return None if due == float("inf") else due


class KeyframeRequests:
    """Coalesces what asks for a keyframe, and repeats it until one has come."""

    def __init__(self, round_trip: RoundTrip, clock: Callable[[], float] = time.monotonic) -> None:
        self._round_trip = round_trip
        self._clock = clock
        self._last = float("-inf")

    def ask(self) -> bool:
        """Whether a request is to be sent now, as a keyframe is wanted; counts as sent."""
        if self.due > self._clock():
            return False
        self._last = self._clock()
        return True

    @property
    def due(self) -> float:
        """When a request may be sent next."""
        return self._last + KEYFRAME_INTERVAL + self._round_trip.seconds
