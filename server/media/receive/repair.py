"""What a receiver does about missing packets: when to ask for each again, and when for a keyframe. Pure bookkeeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

GAP_DEADLINE = 0.06, 0.4  # seconds: the least and the most that a gap is waited for before a keyframe is asked for
NEVER = float("inf")
MAX_AGE = 1.0  # seconds; past that a packet is not asked for any more, senders have forgotten it
TWICE_FROM, TWICE_AFTER = 0.04, 0.01  # seconds, see Retransmissions
PATIENCE = 0.015  # seconds that an expected packet may be late, if those before were not later
LOSSY = 10.0  # seconds after a loss, in which the path is taken to lose more
REORDERING = 0.03  # seconds: the most that is waited for a packet that may only have been overtaken
FORGETTING = 0.995  # per packet, of how late overtaken ones have come
REPAIR_SHARE, REPAIR_BURST = 0.25, 64  # packets asked for, per packet that came; and at once
KEYFRAME_INTERVAL = 0.3, 2.0  # seconds between two requests, plus the round trip: the least, and the most


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
    """A packet. Clock seconds: when to ask for it next, when it was expected, when another overtook it, when it was
    first asked for."""

    next: float
    expected: float = NEVER
    since: float = NEVER
    first: float = NEVER
    asked: int = 0


class Retransmissions:
    """The packets that are missing, by unwrapped sequence number, and when to ask for each (RFC 4585, generic NACK).

    A packet is asked for at once, or where packets overtake each other as late as those come that were only overtaken,
    and again after each round trip without it. Where a round trip is so long that a lost request or answer would be
    seen as a freeze, each request is sent twice, a moment apart: a few bytes that make a second loss ten times rarer.
    There, and while packets get lost, the next one is not waited for until another has overtaken it, but asked for
    once it is later than those before it were: what a frame ends with is otherwise missed only when the next frame
    comes, and repaired too late not to be seen. But no more is asked for than a share of what comes: a path that loses
    a third of its packets is too narrow for them, and retransmissions would make it narrower.
    """

    def __init__(self, round_trip: RoundTrip, clock: Callable[[], float] = time.monotonic) -> None:
        self._round_trip = round_trip
        self._clock = clock
        self._missing: dict[int, _Missing] = {}  # in order of their numbers
        self._budget = float(REPAIR_BURST)  # packets that may be asked for now
        self._reordering = 0.0  # seconds that overtaken packets come late
        self._tardiness = 0.0  # seconds that expected packets come late
        self._lost = -NEVER  # when a packet last was repaired or given up

    @property
    def any(self) -> bool:
        """Whether packets are missing."""
        return bool(self._missing)

    def missing(self, first: int, end: int) -> None:
        """The packets first..end-1 have been overtaken."""
        if first >= end:
            return
        now = self._clock()
        for number in range(first, end):
            missing = self._missing.setdefault(number, _Missing(NEVER))
            missing.since = now
            if not missing.asked:
                missing.next = min(missing.next, now + self._reordering)

    def expect(self, number: int, after: float) -> None:
        """The packet behind the newest is to come so many seconds from now."""
        now = self._clock()
        if self._round_trip.seconds >= TWICE_FROM and now - self._lost < LOSSY:
            patience = max(PATIENCE, self._tardiness + PATIENCE / 2)
            self._missing[number] = _Missing(now + after + patience, expected=now + after)

    def arrived(self, number: int) -> bool:
        """Whether the packet was missing."""
        self._budget = min(self._budget + REPAIR_SHARE, REPAIR_BURST)
        self._reordering *= FORGETTING
        self._tardiness *= FORGETTING
        missing = self._missing.pop(number, None)
        if missing is None:
            return False
        now, answered = self._clock(), 0.8 * self._round_trip.seconds  # no answer could be there any sooner
        overtaken = missing.since < NEVER
        if now - min(missing.since, missing.first) >= answered:
            self._lost = now
            return True
        self._tardiness = max(self._tardiness, min(now - missing.expected, REORDERING))
        if overtaken:
            self._reordering = max(self._reordering, min(now - missing.since, REORDERING))
        return overtaken

    def forget(self, end: int) -> int:
        """Gives up the packets before `end`; how many were missing."""
        given_up = [number for number in self._missing if number < end]
        lost = sum(self._missing.pop(number).since < NEVER for number in given_up)
        if lost:
            self._lost = self._clock()
        return lost

    def oldest(self, start: int) -> float | None:
        """When the first of the packets that are missing from there on was found missing."""
        since = next((missing.since for number, missing in self._missing.items() if number >= start), NEVER)
        return since if since < NEVER else None

    def ask(self) -> list[int]:
        """The packets to ask for now; counts as asked."""
        now, asked = self._clock(), []
        twice = self._round_trip.seconds >= TWICE_FROM
        for number, missing in self._missing.items():
            if missing.next <= now and self._budget >= 1:
                asked.append(number)
                self._budget -= 1
                soon = twice and missing.asked % 2 == 0
                missing.first = min(missing.first, now)
                missing.asked += 1
                missing.next = now + (TWICE_AFTER if soon else self._round_trip.answer)
                if missing.next > min(missing.since, missing.expected) + MAX_AGE:
                    missing.next = NEVER
        return asked

    @property
    def due(self) -> float | None:
        """When there is something to ask for next, other than when a packet comes."""
        if self._budget < 1:
            return None
        due = min((missing.next for missing in self._missing.values()), default=NEVER)
        return due if due < NEVER else None


class KeyframeRequests:
    """Coalesces what asks for a keyframe, and repeats it until one has come.

    Each that follows soon upon another takes twice as long as that, as keyframes fill a path that is too narrow.
    """

    def __init__(self, round_trip: RoundTrip, clock: Callable[[], float] = time.monotonic) -> None:
        self._round_trip = round_trip
        self._clock = clock
        self._last = float("-inf")
        self._interval = KEYFRAME_INTERVAL[0]

    def ask(self) -> bool:
        """Whether a request is to be sent now, as a keyframe is wanted; counts as sent."""
        now, (least, most) = self._clock(), KEYFRAME_INTERVAL
        if self.due > now:
            return False
        self._interval = least if now - self._last > 2 * most else min(2 * self._interval, most)
        self._last = now
        return True

    @property
    def due(self) -> float:
        """When a request may be sent next."""
        return self._last + self._interval + self._round_trip.seconds
