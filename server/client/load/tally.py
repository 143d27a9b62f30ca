"""What one watcher has got in one window of a measurement, and what several have got together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

STEP = 0.0001  # seconds; latencies are counted by it
LATEST = 10.0  # seconds; what is later counts as so late


def count(times: Counter[int], seconds: float) -> None:
    """Adds one to times that are counted by steps of 0.1 ms."""
    times[round(min(max(seconds, 0.0), LATEST) / STEP)] += 1


def percentile(times: Counter[int], share: float) -> float | None:
    """Seconds that this share of the times are at most; None where there are none."""
    total, seen = times.total(), 0
    for step in sorted(times):
        seen += times[step]
        if seen >= share * total:
            return step * STEP
    return None


@dataclass
class Tally:
    """frames: those that came whole and could be decoded; latencies: how many, by steps of 0.1 ms; timed: how many of
    the watchers have told frames apart. expected, lost: packets, after repair; recovered: that came out of order or
    again; these three from the window's begin until it is told. jitter: seconds (RFC 3550, section 6.4.1), summed over
    the watchers."""

    watchers: int = 0
    timed: int = 0
    frames: int = 0
    latencies: Counter[int] = field(default_factory=Counter)
    freezes: int = 0
    frozen_seconds: float = 0.0
    expected: int = 0
    lost: int = 0
    recovered: int = 0
    octets: int = 0
    jitter: float = 0.0

    def percentile(self, share: float) -> float | None:
        """Seconds that this share of the frames took at most; None where none was timed."""
        return percentile(self.latencies, share)

    @classmethod
    def together(cls, tallies: Iterable[Tally]) -> Tally:
        whole = cls()
        for one in tallies:
            for each in fields(cls):
                setattr(whole, each.name, getattr(whole, each.name) + getattr(one, each.name))
        return whole
