"""How much is asked of the engine: levels of demand, lowered at once and raised again with care."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hime_core.faces.geometry import LR_SIDES

REFERENCES = 3  # exemplars per face, where all that is wanted can be had
STRAIN = 0.7  # of the patience: a request that is expected to take longer is not made
EASE = 0.7  # of a level's limit: what is expected must fit into this for the level to be raised to
HOLD = 0.3  # seconds on a level before a better one is tried
GIVE_UP = 4.0  # patiences: answers that take longer even at the least demand are too old to be carried
PROBE = 1.0  # seconds between requests that only measure, while all frames pass
REFERENCE_COST = 0.7  # of a reference, against the rest of the network
SMOOTHING = 0.2
SMALLEST = 32  # LR size that faces are not reduced below
LONGEST_GAP = 0.25  # seconds between frames: what is longer says nothing of their rate


@dataclass(frozen=True)
class Level:
    """references: at most, per face; every: frames between requests; smaller: steps down the LR sizes."""

    name: str
    references: int
    every: int
    smaller: int = 0


def levels(references: int) -> tuple[Level, ...]:
    """From all that is wanted to the least: references, then frames, then pixels; below it, frames pass."""
    fewer = [Level(f"references_{n}", n, 1) for n in range(references, 0, -1)]
    reduced = [Level(f"smaller_{n}", 1, 2, n) for n in range(1, LR_SIDES.index(96) - LR_SIDES.index(SMALLEST) + 1)]
    return (*fewer, Level("half_rate", 1, 2), *reduced, Level("pass", 1, 1, len(reduced)))


@dataclass(frozen=True)
class Plan:
    """What to ask for with a frame, if at all: references per face, and each face's LR size at the engine."""

    ask: bool
    references: int
    sides: tuple[int, ...]


class Demand:
    """Chooses the level of one stream, from the engine's measured speed and the frames' rate.

    patience: seconds that a frame waits for its faces at most, None for as long as it takes; references: the most that
    are wanted. decisions: how often each level was come to. Times are the caller's clock's.
    """

    def __init__(self, patience: float | None, references: int) -> None:
        self.turnaround = 0.0  # seconds from a frame's reception to its answer, the last time
        self.decisions: Counter[str] = Counter()
        self._patience, self._levels = patience, levels(references)
        self._by_name = {level.name: number for number, level in enumerate(self._levels)}
        self._level = 0  # that the engine manages ...
        self._most = 0  # ... and that is not exceeded anyway
        self._changed = -math.inf
        self._asked = -math.inf
        self._skipped = 0  # frames since the last request
        self._before: float | None = None
        self._interval = 0.0
        self._pixel_seconds = 0.0  # for an LR pixel without references

    @property
    def level(self) -> Level:
        return self._levels[max(self._level, self._most)]

    def plan(self, sides: Sequence[int], now: float, most: str = "", every: int = 1) -> Plan:
        """For a frame whose faces have these LR sizes. With ask set, `asked` is to be called if it is done. most: the
        name of the level that is not exceeded, whatever the engine manages; any other word for no such level. every:
        frames between two requests at least."""
        if self._patience is None:
            return Plan(True, self._levels[0].references, tuple(sides))
        self._clock_in(now)
        self._choose(sides, now)
        self._skipped += 1
        self._most = self._by_name.get(most, 0)
        level = self.level
        ask = now - self._asked >= PROBE if level is self._levels[-1] else self._skipped >= max(every, level.every)
        return Plan(ask, level.references, _reduced(sides, level.smaller))

    def asked(self, now: float) -> None:
        self._asked, self._skipped = now, 0

    def learn(self, received: float, asked: float, answered: float, faces: Sequence[tuple[int, int]]) -> None:
        """From an answer: the times of the frame's reception, of asking and of the answer; each face's LR pixels at
        the engine and number of references."""
        self.turnaround = answered - received
        self._measured(answered - asked, faces)

    def refused(self, faces: Sequence[tuple[int, int]]) -> None:
        """The engine had no room, or came to them too late: it is taken to be too slow for this demand."""
        if self._patience is not None:
            self._measured(max(2 * STRAIN * self._patience, self._expected_of(faces)), faces)

    def _measured(self, seconds: float, faces: Sequence[tuple[int, int]]) -> None:
        measured = seconds / _work(faces)
        # While frames pass there is one measurement a second, and only news counts.
        weight = 0.6 if self.level is self._levels[-1] else SMOOTHING
        self._pixel_seconds += (measured - self._pixel_seconds) * (weight if self._pixel_seconds else 1.0)

    def _clock_in(self, now: float) -> None:
        gap = math.inf if self._before is None else now - self._before
        self._before = now
        if 0 < gap < LONGEST_GAP:
            self._interval += (gap - self._interval) * (SMOOTHING if self._interval else 1.0)

    def _choose(self, sides: Sequence[int], now: float) -> None:
        before, last = self._level, len(self._levels) - 1
        while self._level < last and self._expected(sides, self._level) > self._limit(self._level):
            self._level += 1
        if self._level == before and before and now - self._changed >= HOLD:
            better, limit = self._expected(sides, before - 1), self._limit(before - 1)
            same = better <= self._expected(sides, before)  # the levels differ in what these faces do not have
            self._level -= better <= (limit if same else EASE * limit)
        if self._level != before:
            self._changed = now
            self.decisions[self._levels[self._level].name] += 1

    def _limit(self, level: int) -> float:
        """Seconds that a request on this level may take: the frame waits for it, and the next one comes."""
        assert self._patience is not None
        if level == len(self._levels) - 2:
            return GIVE_UP * self._patience
        limit = STRAIN * self._patience
        return min(limit, self._levels[level].every * self._interval) if self._interval else limit

    def _expected(self, sides: Sequence[int], level: int) -> float:
        plan = self._levels[level]
        return self._expected_of([(side**2, plan.references) for side in _reduced(sides, plan.smaller)])

    def _expected_of(self, faces: Sequence[tuple[int, int]]) -> float:
        return self._pixel_seconds * _work(faces)


def _work(faces: Sequence[tuple[int, int]]) -> float:
    return sum(pixels * (1 + REFERENCE_COST * references) for pixels, references in faces)


def _reduced(sides: Sequence[int], steps: int) -> tuple[int, ...]:
    """LR sizes so many steps smaller, not below the smallest that faces are reduced to."""
    return tuple(side if side <= SMALLEST else max(SMALLEST, _step_down(side, steps)) for side in sides)


def _step_down(side: int, steps: int) -> int:
    return LR_SIDES[max(0, LR_SIDES.index(side) - steps)]
