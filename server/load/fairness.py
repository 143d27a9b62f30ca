"""Which stream takes the next step down the ladder, and which the next one up: max-min fairness over all streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hime_core.stream.ladder import LADDER
from server.load.stream import StreamLoad

Direction = Literal["down", "up"]
LAST = len(LADDER) - 1


@dataclass
class _Place:
    level: int
    moved: int  # the turn in which it came there


class Fairness:
    """The levels of streams: indices of LADDER, never more than one apart. For the event loop.

    A step that changes nothing for a stream, as nobody watches what it leaves out, is taken along with the next one.
    """

    def __init__(self, on_step: Callable[[Direction], None] = lambda direction: None) -> None:
        """on_step: told of each step."""
        self._on_step = on_step
        self._places: dict[StreamLoad, _Place] = {}
        self._turn = 0

    def join(self, stream: StreamLoad) -> None:
        """On the level of those who have least: who has all would take it from them."""
        self._places[stream] = _Place(0, self._turn)
        self._set(stream, self.deepest)

    def leave(self, stream: StreamLoad) -> None:
        self._places.pop(stream, None)

    @property
    def deepest(self) -> int:
        return max((place.level for place in self._places.values()), default=0)

    @property
    def highest(self) -> int:
        return min((place.level for place in self._places.values()), default=0)

    @property
    def streams(self) -> list[StreamLoad]:
        return list(self._places)

    @property
    def cost(self) -> float:
        """Of all streams together, as the rungs' costs have it: of one that has all, 1."""
        return sum(LADDER[place.level].cost for place in self._places.values())

    def counts(self) -> Counter[str]:
        """How many streams there are on each rung."""
        return Counter(LADDER[place.level].name for place in self._places.values())

    def down(self) -> bool:
        """From who has most, and among them has had it longest. False where nothing is left that would save time."""
        while self.highest < LAST and self._places:
            stream = self._longest(self.highest)
            self._step(stream, "down")
            if stream.useful(stream.rung):
                return True
        return False

    def dearest_up(self) -> float:
        """What the next step up costs, as `cost` counts; 0 where there is none."""
        deepest = self.deepest
        return LADDER[deepest - 1].cost - LADDER[deepest].cost if deepest else 0.0

    def up(self) -> bool:
        """For who has least, and among them has had it longest. False where all have everything."""
        while self.deepest > 0:
            stream = self._longest(self.deepest)
            useful = stream.useful(stream.rung)
            self._step(stream, "up")
            if useful:
                return True
        return False

    def _longest(self, level: int) -> StreamLoad:
        """Of those on that level."""
        there = enumerate(self._places.items())
        return min((place.moved, number, stream) for number, (stream, place) in there if place.level == level)[2]

    def _step(self, stream: StreamLoad, direction: Direction) -> None:
        self._set(stream, self._places[stream].level + (1 if direction == "down" else -1))
        self._on_step(direction)

    def _set(self, stream: StreamLoad, level: int) -> None:
        self._turn += 1
        self._places[stream] = _Place(level, self._turn)
        stream.rung = LADDER[level]
