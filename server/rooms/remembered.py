"""Who was known in the pictures of participants who have left, for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hime_core.people.people import People

MOST_REMEMBERED = 16  # participants of one room who have left; those who left first are forgotten first


@dataclass(frozen=True, eq=False)
class _Left:
    people: People
    at: float  # clock seconds


class Remembered:
    """Those of one room, by participants' names, for one who takes the same name again. For the event loop's thread."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """seconds: from the leaving on; 0 for none at all."""
        self.seconds, self._clock = seconds, clock
        self._by_name: dict[str, _Left] = {}  # who left first comes first

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> People:
        return self._by_name[name].people

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    @property
    def people(self) -> list[People]:
        return [one.people for one in self._by_name.values()]

    @property
    def left(self) -> list[float]:
        """When they left, clock seconds, oldest first."""
        return [one.at for one in self._by_name.values()]

    def keep(self, name: str, people: People) -> None:
        """Who has that name leaves now."""
        if self.seconds > 0:
            self._by_name[name] = _Left(people, self._clock())
            self.forget_expired()

    def take(self, name: str) -> People | None:
        """They are in use again, or to be forgotten by whoever takes them."""
        found = self._by_name.pop(name, None)
        return found.people if found else None

    def forget_oldest(self) -> None:
        self._by_name.pop(next(iter(self._by_name))).people.forget(None)

    def forget_expired(self) -> None:
        """And those who are too many, and those who knew nobody."""
        now, there = self._clock(), list(self._by_name.items())
        for number, (name, one) in enumerate(reversed(there)):
            if number >= MOST_REMEMBERED or now - one.at >= self.seconds or not one.people.everyone():
                del self._by_name[name]
                one.people.forget(None)

    def forget_all(self) -> None:
        while self:
            self.forget_oldest()
