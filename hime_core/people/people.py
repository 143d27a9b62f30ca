"""The people of one publisher, and the exemplars of each. They outlive tracks, and a reconnect."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import RLock

from hime_core.exemplars.bank import ExemplarBank
from hime_core.exemplars.exemplar import Exemplar

MOST = 6  # people without a name that are remembered; those not seen for longest go first


@dataclass(eq=False)
class Person:
    """name: under which photos were registered, None for people known from the call alone. since, seen: clock seconds
    at which a face was first and last known to be this person's; None: not yet. sighting: the view of a face that is
    this person's now, None while away."""

    id: int
    name: str | None
    bank: ExemplarBank
    since: float | None = None
    seen: float | None = None
    sighting: int | None = None


class People:
    """Thread-safe. Those without exemplars are forgotten as soon as their face is gone.

    dropped: told the ids of exemplars that are no longer held. on_decision: as ExemplarBank's, of everyone.
    """

    def __init__(
        self,
        dropped: Callable[[Iterable[str]], None] = lambda ids: None,
        clock: Callable[[], float] = time.monotonic,
        on_decision: Callable[[str], None] = lambda decision: None,
    ) -> None:
        self.generation = 0  # grows when all that is known is to be forgotten, evidence of who is who included
        self._dropped, self._clock, self._on_decision = dropped, clock, on_decision
        self._lock = RLock()
        self._people: dict[int, Person] = {}
        self._apart: set[frozenset[int]] = set()
        self._ids = itertools.count(1)
        self._sightings = itertools.count(1)

    # -- who is there ------------------------------------------------------------------------------------------

    def everyone(self) -> list[Person]:
        """In the order in which they became known."""
        with self._lock:
            return list(self._people.values())

    def exemplars(self) -> list[Exemplar]:
        """Of everyone."""
        return [exemplar for person in self.everyone() for exemplar in person.bank.exemplars()]

    def next_sighting(self) -> int:
        return next(self._sightings)

    def newcomer(self, sighting: int) -> Person:
        """Somebody whose face has just come into view, as far as is known a person of their own."""
        with self._lock:
            now = self._clock()
            person = Person(next(self._ids), None, self._new_bank(), now, now, sighting)
            self._people[person.id] = person
            return person

    def present(self, persons: Iterable[Person]) -> None:
        """These are in view at the same time, so they are different people."""
        with self._lock:
            now, here = self._clock(), [person for person in persons if person.id in self._people]
            for person in here:
                person.seen = now
            if len(here) > 1:
                self._apart.update(frozenset((a.id, b.id)) for a, b in itertools.combinations(here, 2))

    def away(self, person: Person, sighting: int) -> None:
        """A face is gone from view."""
        with self._lock:
            if self._people.get(person.id) is not person:  # forgotten meanwhile: what was still learnt goes too
                self._remove([person])
                return
            if person.sighting == sighting:
                person.sighting = None
            if person.sighting is None and person.name is None and person.bank.empty:
                self._remove([person])
            absent = [one for one in self._people.values() if one.name is None and one.sighting is None]
            self._remove(sorted(absent, key=lambda one: one.seen or 0.0)[: max(0, len(absent) - MOST)])

    def apart(self, one: Person, other: Person) -> bool:
        """Whether two are known to be different people: they have been seen together, or have names of their own."""
        with self._lock:
            named = one.name is not None and other.name is not None
            return named or frozenset((one.id, other.id)) in self._apart

    def move(self, sighting: int, source: Person, target: Person, seen_as: int) -> None:
        """What was learnt in a sighting belongs to another person than was thought, who is in view as `seen_as`."""
        if source is target:
            return
        with self._lock:
            given = target.bank.adopt(source.bank.release(sighting))
            self._dropped(given)
            now = self._clock()
            target.since = now if target.since is None else target.since
            target.seen, target.sighting = now, seen_as
            self.away(source, sighting)

    # -- photos ------------------------------------------------------------------------------------------------

    def expect(self, name: str) -> Person:
        """The person of that name, who may come into view."""
        with self._lock:
            for person in self._people.values():
                if person.name == name:
                    return person
            person = Person(next(self._ids), name, self._new_bank())
            self._people[person.id] = person
            return person

    def expect_only(self, names: Iterable[str]) -> None:
        """These may come into view, and nobody else of a name: others lose their photos and their name, and keep what
        the call has shown of them."""
        with self._lock:
            wanted = set(names)
            for person in [one for one in self._people.values() if one.name not in (None, *wanted)]:
                photos = [exemplar.id for exemplar in person.bank.exemplars() if exemplar.source == "photo"]
                person.bank.remove(photos)
                self._dropped(photos)
                person.name = None
                if person.sighting is None and person.bank.empty:
                    self._remove([person])
            for name in wanted:
                self.expect(name)

    def names(self) -> set[str]:
        with self._lock:
            return {person.name for person in self._people.values() if person.name is not None}

    def photos(self, name: str) -> set[str]:
        """The ids of the photos that are held of the person of that name."""
        exemplars = [one for person in self.everyone() if person.name == name for one in person.bank.exemplars()]
        return {one.id for one in exemplars if one.source == "photo"}

    # -- forgetting --------------------------------------------------------------------------------------------

    def forget(self, exemplar_ids: Iterable[str] | None) -> None:
        """Drops exemplars by id; None drops everyone: who is in view now starts anew."""
        with self._lock:
            if exemplar_ids is None:
                self._remove(list(self._people.values()))
                self.generation += 1
                return
            gone = list(exemplar_ids)
            for person in self._people.values():
                person.bank.remove(gone)
            self._dropped(gone)

    def forget_name(self, name: str) -> None:
        """Drops the person of that name, and everyone without a name, as they may be the same."""
        with self._lock:
            self._remove([one for one in self._people.values() if one.name in (name, None)])
            self.generation += 1

    def _new_bank(self) -> ExemplarBank:
        return ExemplarBank(clock=self._clock, on_decision=self._on_decision)

    def _remove(self, people: Iterable[Person]) -> None:
        for person in people:
            self._people.pop(person.id, None)
            self._apart = {pair for pair in self._apart if person.id not in pair}
            ids = [exemplar.id for exemplar in person.bank.exemplars()]
            person.bank.remove(ids)
            self._dropped(ids)
