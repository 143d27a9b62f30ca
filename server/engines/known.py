"""Which exemplars an engine process holds for this worker."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import NamedTuple
from weakref import WeakKeyDictionary, finalize

from hime_core.exemplars.exemplar import Exemplar
from server.engines.wake import Wake

LIMIT = 256 << 20  # bytes of their pictures
MOST = 4096


class _Held(NamedTuple):
    id: str
    size: int
    end: finalize[[int, deque[int], Wake], Exemplar]


class Known:
    """Exemplars by number, bounded in bytes: the one that was named longest ago goes first. For one thread at a time.

    What the process is to drop, as its exemplar is gone, forgotten or one too many, is in `gone`.
    """

    def __init__(self, wake: Wake, limit: int = LIMIT, most: int = MOST) -> None:
        """wake: is set when an exemplar has gone."""
        self.gone: deque[int] = deque()  # which a garbage collection adds to, whoever has the lock
        self.bytes = 0
        self._wake, self._limit, self._most = wake, limit, most
        self._next = itertools.count(1)
        self._numbers: WeakKeyDictionary[Exemplar, int] = WeakKeyDictionary()
        self._held: OrderedDict[int, _Held] = OrderedDict()  # named last: last

    def __len__(self) -> int:
        return len(self._held)

    def number(self, exemplar: Exemplar) -> int | None:
        """None where the process does not have it."""
        number = self._numbers.get(exemplar)
        if number is not None:
            self._held.move_to_end(number)
        return number

    def add(self, exemplar: Exemplar) -> int:
        number = next(self._next)
        end = finalize(exemplar, _died, number, self.gone, self._wake)
        end.atexit = False
        self._numbers[exemplar] = number
        self._held[number] = _Held(exemplar.id, exemplar.image.nbytes, end)
        self.bytes += exemplar.image.nbytes
        while (self.bytes > self._limit or len(self._held) > self._most) and len(self._held) > 1:
            self.drop(next(iter(self._held)))
        return number

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        ids = set(exemplar_ids)
        for number in [number for number, held in self._held.items() if held.id in ids]:
            self.drop(number)

    def drop(self, number: int) -> None:
        """Where it is asked for again, it has another number."""
        held = self._removed(number)
        if held is not None and (found := held.end.detach()) is not None:  # else it has gone by itself
            self._numbers.pop(found[0], None)
            self.gone.append(number)
            self._wake.set()

    def take_gone(self, most: int) -> list[int]:
        """The numbers that the process is to be told of, as many at most."""
        numbers: list[int] = []
        while self.gone and len(numbers) < most:
            numbers.append(self.gone.popleft())
            self._removed(numbers[-1])
        return numbers

    def clear(self) -> None:
        """All at once, where the process is gone itself."""
        for held in self._held.values():
            held.end.detach()
        self._held.clear()
        self._numbers.clear()
        self.gone.clear()
        self.bytes = 0

    def _removed(self, number: int) -> _Held | None:
        held = self._held.pop(number, None)
        self.bytes -= held.size if held else 0
        return held


def _died(number: int, gone: deque[int], wake: Wake) -> None:
    """Takes no lock: the thread that this comes upon may hold it."""
    gone.append(number)
    wake.set()
