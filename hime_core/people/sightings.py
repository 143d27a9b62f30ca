"""Which person each tracked face of a stream is."""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal

from hime_core.arrays import Array
from hime_core.faces.geometry import Box, headshot_of
from hime_core.faces.recognition import Recogniser
from hime_core.faces.tracker import TrackedFace
from hime_core.people.judgement import judge
from hime_core.people.looks import Asked, Candidate, Comparison, Look, picture_of
from hime_core.people.people import People, Person

log = logging.getLogger(__name__)

# Frames until the next look at a face of which it is not sure whose it is; the last for all later ones.
UNSURE = (4, 4, 8, 14, 30, 60)
SURE = (60, 300)  # and where it is
BETTER = 1.3  # times as large as it was looked at before: worth another look
COVERED = 0.05  # share of a box that another covers, from which on one face may be taken for the other
AGAIN = 1.5  # seconds within which a face that comes back near its place is expected to be the same person's
NEAR = 1.0  # headshots' sides away
MOVES = 2.0  # times larger or smaller

Verdict = Literal["new", "unsure", "recognised", "covered"]


@dataclass(eq=False)
class Sighting:
    """The unbroken view of one face.

    person: whose exemplars it has: a newcomer of its own, until somebody is recognised. verdict: `new`: nobody who is
    known; `unsure`: it may be somebody who is known, or not; `covered`: another face is before it.
    """

    id: int
    track: int
    person: Person
    doubts: int = 0
    expected: frozenset[int] = frozenset()  # persons who were here a moment ago
    verdict: Verdict = "new"
    looks: int = 0
    due: int = 0  # frame of the next look
    side: float = 0.0  # of the headshot, the largest that it was looked at
    total: Array | None = None  # of the embeddings at about that size
    scores: dict[int, float] = field(default_factory=dict)  # by person, of the last look

    def is_due(self, frame: int, side: float) -> bool:
        """Whether it is time for a look."""
        return self.verdict != "covered" and (frame >= self.due or side >= BETTER * self.side > 0)

    def looked_at(self, frame: int) -> None:
        waits = UNSURE if self.verdict == "unsure" else SURE
        self.due = frame + waits[min(self.looks, len(waits)) - 1]


@dataclass(frozen=True, eq=False)
class _Gone:
    persons: frozenset[int]
    box: Box
    time: float


class Sightings:
    """For one thread. The recogniser is asked beside the stream, one frame at a time, or in_step (for files).

    recogniser: None: nobody is recognised, so exemplars last as long as an unbroken track, and photos go to nobody.
    counts: of faces `recognised`, `corrected` where it had been the wrong person, and of looks that ended in an
    `error`; on_outcome is told each as it comes. timed: a context manager by stage name, for measurements.
    """

    def __init__(
        self,
        people: People,
        recogniser: Recogniser | None,
        in_step: bool = False,
        timed: Callable[[str], AbstractContextManager[None]] = lambda stage: nullcontext(),
        clock: Callable[[], float] = time.monotonic,
        on_outcome: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._on_outcome = on_outcome
        self._people, self._recogniser, self._timed, self._clock = people, recogniser, timed, clock
        self._comparison = Comparison(recogniser) if recogniser else None
        self._worker = None if in_step or not recogniser else ThreadPoolExecutor(1, "hime-recognise")
        self._pending: Future[list[Look]] | None = None
        self._tracks: dict[int, Sighting] = {}
        self._boxes: dict[int, Box] = {}
        self._gone: list[_Gone] = []
        self._generation = people.generation
        self._frame = 0
        self._logged = False

    def update(self, faces: Sequence[TrackedFace], rgb: Callable[[], Array], frame: int) -> tuple[TrackedFace, ...]:
        """The faces with the ids of their sightings for those of their tracks: an id is never two persons'.

        rgb: gives the frame, uint8 (height, width, 3), where it is to be looked at.
        """
        self._frame = frame
        self._let_go(faces)
        if self._generation != self._people.generation:
            self._generation = self._people.generation
            for sighting in list(self._tracks.values()):
                self._begin(sighting.track, frame, sighting.doubts)
        for face in faces:
            known = self._tracks.get(face.track)
            if known is None:
                self._begin(face.track, frame, face.doubts, self._returning(face))
            elif face.doubts != known.doubts:
                self._begin(face.track, frame, face.doubts, self._who(face.track))
        self._cover(faces, frame)
        self._boxes = {face.track: face.box for face in faces}
        if self._pending and self._pending.done():
            done, self._pending = self._pending, None
            self._learn(done)
        if self._recogniser and self._pending is None:
            self._look(faces, rgb, frame)
        self._people.present([sighting.person for sighting in self._tracks.values() if sighting.verdict != "covered"])
        return tuple(replace(face, track=self._tracks[face.track].id) for face in faces)

    def of(self, id: int) -> Sighting:
        """The sighting of that id, which is in view. Raises KeyError."""
        for sighting in self._tracks.values():
            if sighting.id == id:
                return sighting
        raise KeyError(id)

    def clear(self) -> None:
        """Nobody is in view any longer."""
        self._let_go(())

    def close(self) -> None:
        if self._worker:
            self._worker.shutdown(wait=False, cancel_futures=True)
        self._let_go(())

    # -- beginnings and ends -----------------------------------------------------------------------------------

    def _let_go(self, faces: Sequence[TrackedFace]) -> None:
        now, there = self._clock(), {face.track for face in faces}
        for track in set(self._tracks) - there:
            self._gone.append(_Gone(self._who(track), self._boxes[track], now))
            sighting = self._tracks.pop(track)
            self._people.away(sighting.person, sighting.id)
        self._gone = [gone for gone in self._gone if now - gone.time < AGAIN]

    def _begin(self, track: int, frame: int, doubts: int, expected: frozenset[int] = frozenset()) -> Sighting:
        before = self._tracks.get(track)
        id = self._people.next_sighting()
        sighting = Sighting(id, track, self._people.newcomer(id), doubts, expected, due=frame)
        self._tracks[track] = sighting
        if before is not None:
            self._people.away(before.person, before.id)
        return sighting

    def _returning(self, face: TrackedFace) -> frozenset[int]:
        """Who was lost from view near here a moment ago."""
        return frozenset().union(*(gone.persons for gone in self._gone if _near(gone.box, face.box)))

    def _cover(self, faces: Sequence[TrackedFace], frame: int) -> None:
        """Where one face is before another, the tracker may take one for the other: either may be either then."""
        covering = [(a, b) for a, b in itertools.combinations(faces, 2) if _covered(a.box, b.box) > COVERED]
        covered = {face.track for pair in covering for face in pair}
        for a, b in covering:
            either = frozenset().union(*(self._who(face.track) for face in (a, b)))
            for face in (a, b):
                if self._tracks[face.track].verdict != "covered":
                    self._begin(face.track, frame, face.doubts).verdict = "covered"
                self._tracks[face.track].expected |= either
        for face in faces:
            sighting = self._tracks[face.track]
            if face.track not in covered and sighting.verdict == "covered":
                self._begin(face.track, frame, face.doubts, sighting.expected)

    def _who(self, track: int) -> frozenset[int]:
        sighting = self._tracks[track]
        return sighting.expected | {sighting.person.id}

    # -- looks -------------------------------------------------------------------------------------------------

    def _look(self, faces: Sequence[TrackedFace], rgb: Callable[[], Array], frame: int) -> None:
        asked, now = [], {face.track: self._tracks[face.track] for face in faces}
        due = [face for face in faces if now[face.track].is_due(frame, headshot_of(face.box).side)]
        known = {person.id: person.bank.exemplars() for person in self._people.everyone()} if due else {}
        for face in due:
            sighting, headshot = now[face.track], headshot_of(face.box)
            others = {id: [e for e in found if e.sighting != sighting.id] for id, found in known.items()}
            candidates = tuple(Candidate(id, tuple(exemplars)) for id, exemplars in others.items() if exemplars)
            if not candidates:
                sighting.due = frame + UNSURE[0]  # nobody to mistake it for: there is no need to ask at every frame
                continue
            picture = picture_of(rgb(), headshot, face.landmarks)
            fresh = headshot.side >= BETTER * sighting.side
            sighting.side = max(sighting.side, headshot.side)
            total = None if fresh else sighting.total
            sighting.looks += 1
            sighting.looked_at(frame)
            asked.append(Asked(sighting.id, picture, headshot.side, candidates, total))
        if not asked:
            return
        if self._worker is None:
            done: Future[list[Look]] = Future()
            try:
                done.set_result(self._ask(asked))
            except Exception as error:
                done.set_exception(error)
            self._learn(done)
        else:
            self._pending = self._worker.submit(self._ask, asked)

    def _ask(self, asked: Sequence[Asked]) -> list[Look]:
        assert self._comparison is not None
        with self._timed("recognise"):
            return self._comparison.look_at(asked)

    def _learn(self, done: Future[list[Look]]) -> None:
        if error := done.exception():
            self._count("error")
            if not self._logged:  # the next ones will mostly be the same
                self._logged = True
                log.error("faces are not recognised", exc_info=error)
            return
        now = {sighting.id: sighting for sighting in self._tracks.values()}
        # The surest first: who is taken is nobody else's.
        looks = [look for look in done.result() if look.sighting in now]
        for look in sorted(looks, key=lambda look: -max(look.scores.values(), default=-1.0)):
            sighting = now[look.sighting]
            if self._tracks[sighting.track] is not sighting:
                continue  # corrected by a surer look: it begins anew
            sighting.total, sighting.scores = look.total, look.scores
            self._decide(sighting, look)
            self._tracks[sighting.track].looked_at(self._frame)

    def _decide(self, sighting: Sighting, look: Look) -> None:
        assert self._recogniser is not None
        people = {person.id: person for person in self._people.everyone()}
        holders = {other.person.id: other for other in self._tracks.values() if other is not sighting}
        free = {
            id: score
            for id, score in look.scores.items()
            if id in people and (id not in holders or score > holders[id].scores.get(id, 1.0))
        }
        found = judge(
            free,
            self._recogniser.limits(round(look.side)),
            sighting.person.id,
            sighting.expected,
            lambda a, b: self._people.apart(people[a], people[b]),
        )
        if found == "unsure":
            sighting.verdict = "unsure"
        elif found == "stranger":
            if sighting.person.id in free:
                self._correct(sighting, None)
            else:
                sighting.verdict, sighting.expected = "new", frozenset()
        elif found != sighting.person.id:
            if found in holders:  # who was taken for this person is not
                self._correct(holders[found], None)
            if sighting.person.id in free:
                sighting = self._correct(sighting, people[found])
            else:
                self._people.move(sighting.id, sighting.person, people[found], sighting.id)
                sighting.person = people[found]
            sighting.verdict, sighting.expected = "recognised", frozenset()
            self._count("recognised")

    def _correct(self, sighting: Sighting, right: Person | None) -> Sighting:
        """A mistake: what was learnt in the sighting goes to the right person, or to a newcomer. It begins anew, so
        that detail that was made with another's exemplars is not carried on."""
        self._count("corrected")
        id = self._people.next_sighting()
        after = replace(sighting, id=id, person=right or self._people.newcomer(id), expected=frozenset(), verdict="new")
        self._tracks[sighting.track] = after
        self._people.move(sighting.id, sighting.person, after.person, id)
        return after

    def _count(self, outcome: str) -> None:
        self.counts[outcome] += 1
        self._on_outcome(outcome)


def _covered(a: Box, b: Box) -> float:
    """The share of the smaller box that the other covers."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    return max(0.0, width) * max(0.0, height) / min(a.width * a.height, b.width * b.height)


def _near(before: Box, now: Box) -> bool:
    (x, y), (u, v) = before.centre, now.centre
    side = headshot_of(before).side
    return (x - u) ** 2 + (y - v) ** 2 < (NEAR * side) ** 2 and 1 / MOVES < now.height / before.height < MOVES
