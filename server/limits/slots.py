"""Places that are reserved before any work is done for whoever takes them, and given back when that has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

SHARED_BY = 3  # holders of one place at most: who leaves, who comes in their stead, and one attempt that is ending


class Full(Exception):
    """There is no place. in_all: or else only in that group."""

    def __init__(self, in_all: bool, most: int) -> None:
        super().__init__(f"{most} places are taken")
        self.in_all, self.most = in_all, most


class Slots:
    """Counts places, in all and by group. For the event loop: nothing is awaited between the count and the place."""

    def __init__(self, in_all: int, of_each: int | None = None) -> None:
        """in_all: may be set anew: who has a place keeps it. of_each: places of one group; None: all."""
        self.in_all, self._of_each = in_all, of_each
        self._taken: Counter[Hashable] = Counter()  # by group; a group without any is not kept

    @property
    def taken(self) -> int:
        return self._taken.total()

    @property
    def of_each(self) -> int:
        return self.in_all if self._of_each is None else self._of_each

    def of(self, group: Hashable) -> int:
        """Those of a group that are taken."""
        return self._taken.get(group, 0)

    def take(self, group: Hashable = None) -> Slot:
        """Raises Full."""
        if self.taken >= self.in_all:
            raise Full(True, self.in_all)
        if self.of(group) >= self.of_each:
            raise Full(False, self.of_each)
        self._taken[group] += 1
        return Slot(_Place(self, group))

    def _give_back(self, group: Hashable) -> None:
        self._taken[group] -= 1
        if not self._taken[group]:
            del self._taken[group]


class _Place:
    def __init__(self, slots: Slots, group: Hashable) -> None:
        self.slots, self.group, self.holders = slots, group, 0


class Slot:
    """A hold on a place, given back by `release`."""

    def __init__(self, place: _Place) -> None:
        self._place, self._held = place, True
        place.holders += 1

    def share(self) -> Slot | None:
        """Another hold on the same place, for who takes this one's stead; None where that place has enough of them, or
        is no longer held."""
        if not self._held or self._place.holders >= SHARED_BY:
            return None
        return Slot(self._place)

    def release(self) -> None:
        """May be called several times."""
        if self._held:
            self._held = False
            self._place.holders -= 1
            if not self._place.holders:
                self._place.slots._give_back(self._place.group)
