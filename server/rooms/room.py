"""A room: its participants, and the events that tell of them. All state of a call lives here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from hime_core.people.people import People
from server.media.rules import SessionRules
from server.media.session import Session
from server.rooms.events import Event, Events, Listener
from server.rooms.participant import Participant, ParticipantStats
from server.rooms.refusals import REFUSALS, Refusals
from server.rooms.remembered import Remembered
from server.rooms.watcher import Absence, Absences, Watcher
from server.supervision import Tasks

log = logging.getLogger(__name__)


class NameTaken(Exception):
    """Somebody else has the name."""


@dataclass(frozen=True, eq=False)
class _Newcomer:
    participant: Participant
    came: float  # clock seconds


class Room:
    """Used in the event loop's thread only.

    Whoever comes to a name that is in use, and may have it, waits beside it until its media has come: until then the
    one who has the name goes on untouched, and nothing tells of the other.

    Watchers are a name's. When its publisher's network is lost, they wait `reconnect` seconds for its subject to
    publish under the name again, and see that as soon as its media comes, as where the name is taken over. The name is
    free meanwhile: whoever else takes it ends their waiting, and so does the publisher, by ending its session.

    Who was known in a participant's picture is remembered for `remember` seconds after it left, for one who takes the
    same name again.
    """

    def __init__(
        self,
        name: str,
        remember: float = 0.0,
        new_people: Callable[[], People] = People,
        clock: Callable[[], float] = time.monotonic,
        patience: float = 30.0,
        reconnect: float = 30.0,
        connect_timeout: float = SessionRules.connect_timeout,
    ) -> None:
        """patience: seconds that a publisher may take until something comes that can be used; connect_timeout: from the
        answer until the media of who is to take a name over has come."""
        self.name = name
        self.arriving = 0  # who are being answered, and will enter
        self._patience, self._connect_timeout = patience, connect_timeout
        self.remembered = Remembered(remember, clock)
        self.participants: dict[str, Participant] = {}
        self._new_people, self._clock = new_people, clock
        self._newcomers: dict[str, _Newcomer] = {}  # by the names that they are to take over, one for each
        self._refusals = Refusals(clock)
        self._absences = Absences(reconnect, clock)
        self._events = Events()
        self._leaving = Tasks("a session's end")

    @property
    def idle(self) -> bool:
        """Whether nobody is in it, waits or listens there."""
        return not (self.participants or self._events or self._leaving or self._absences.watched)

    @property
    def reconnecting(self) -> list[str]:
        """The names whose publishers' networks are lost, until their media comes again or the time is over."""
        return self._absences.names

    @property
    def forgotten(self) -> bool:
        """Whether it is idle, remembers nobody, and nobody is about to come."""
        return self.idle and not self.remembered and not self.arriving

    @property
    def newcomers(self) -> dict[str, Participant]:
        """Who wait for names that are in use, by those."""
        return {name: one.participant for name, one in self._newcomers.items()}

    @property
    def absent(self) -> dict[str, Absence]:
        """The publishers whose networks are lost, by name."""
        return self._absences.all

    def people_for(self, name: str) -> People:
        """Those for a participant who is about to take that name: as its last session knew them, or nobody yet."""
        self.remembered.forget_expired()
        there = self.participants.get(name)
        if there is not None and self.remembered.seconds > 0:
            return there.people
        return self.remembered[name] if name in self.remembered else self._new_people()

    def all_people(self) -> list[People]:
        """Of running and of remembered sessions."""
        return [*(one.people for one in self.participants.values()), *self.remembered.people]

    def forget_photos(self, exemplar_ids: list[str]) -> None:
        """Drops photos by id, wherever they are held or still being read."""
        for participant in self.participants.values():
            participant.forget(exemplar_ids)
        for people in self.remembered.people:
            people.forget(exemplar_ids)

    def check_free(self, name: str, subject: str) -> None:
        """Raises NameTaken where another subject has the name."""
        there = self.participants.get(name)
        if there is not None and there.subject != subject:
            raise NameTaken

    def enter(self, participant: Participant) -> bool:
        """The participant takes its name; or, where it is in use, waits for it, in place of whoever waited already.

        True where it has taken it. Raises NameTaken, and RuntimeError where its threads cannot be started.
        """
        self.check_free(participant.name, participant.subject)
        if participant.name not in self.participants:
            self._take_name(participant)
            return True
        self._drop_newcomer(participant.name)
        self._newcomers[participant.name] = _Newcomer(participant, self._clock())
        participant.session.on_over = lambda: self._over(participant)
        participant.on_media = lambda: self._take_over(participant)
        return False

    def publisher(self, name: str, session: str) -> Participant | None:
        """Who has that session, and the name or waits for it."""
        newcomer = self._newcomers.get(name)
        found = (self.participants.get(name), newcomer.participant if newcomer else None)
        return next((one for one in found if one is not None and one.session.id == session), None)

    def media_came(self, participant: Participant) -> None:
        """Called once per participant, with the first frame or audio packet."""
        name = participant.name
        if not participant.joined and self.participants.get(name) is participant:
            participant.joined = True
            if name in self._absences:
                participant.take_on(self._absences.end(name).watchers)
            self._events.send("joined", {"participant": name})

    def leave(self, participant: Participant) -> None:
        """Shows at once, and for all who watch; connections and threads end in the background. Who waits for the name
        takes it."""
        if self.participants.get(participant.name) is participant:
            self._tell_left(participant)
        self._part(participant)

    def lose(self, participant: Participant) -> None:
        """Its network is gone: as leave(), but that who watches waits for it to come back, if it has ever shown
        anything."""
        name = participant.name
        if self.participants.get(name) is participant and (participant.joined or name in self._absences):
            if not self._absences.seconds:
                return self.leave(participant)
            self._absences.begin(name, participant.session, participant.hand_over())
            if participant.joined:
                self._events.send("reconnecting", {"participant": name})
        self._part(participant)

    def absence(self, name: str, session: str) -> Absence | None:
        """That of a publisher whose last session it was."""
        found = self._absences.get(name)
        return found if found is not None and found.session.id == session else None

    def refuse(self, participant: Participant, reason: str) -> None:
        """Ends a publisher's session because of what it sends, or does not. reason: one of REFUSALS."""
        self._refusals.add(participant.name, reason)
        self._events.send("refused", {"participant": participant.name, "reason": reason, "detail": REFUSALS[reason]})
        self.leave(participant)

    def refusals(self) -> dict[str, str]:
        """By name, why frames of those who are there are left out, and why sessions were ended of late."""
        now = {name: why for name, one in self.participants.items() if (why := one.stats().get("refused"))}
        return self._refusals.lately() | now

    def watcher(self, name: str, session: str) -> Session | None:
        """Who watches the name by that session, or waits for it to come back."""
        found = next((watchers[session] for watchers in self._watchers_of(name) if session in watchers), None)
        return found.session if found else None

    def stop_watching(self, name: str, session: str) -> None:
        for watchers in self._watchers_of(name):
            if (watcher := watchers.pop(session, None)) is not None:
                self._leaving.run(watcher.session.close())

    def sweep(self) -> None:
        """Those whose network is lost leave, and newcomers without media; who has been gone for long is forgotten. One
        who cannot be looked after does not keep the others from it: the error is raised in the end."""
        self.remembered.forget_expired()
        failed: Exception | None = None
        for look in self._looks():
            try:
                look()
            except Exception as error:
                failed = error
        if failed is not None:
            raise failed

    def _looks(self) -> list[Callable[[], None]]:
        """What there is to be looked after, each by itself."""
        newcomers = [partial(self._sweep_newcomer, one) for one in self._newcomers.values()]
        return [*newcomers, self._sweep_absences, *(partial(self._sweep, one) for one in self.participants.values())]

    def _sweep_newcomer(self, newcomer: _Newcomer) -> None:
        waited = self._clock() - newcomer.came
        if waited > self._connect_timeout or newcomer.participant.session.is_lost():
            self._drop_newcomer(newcomer.participant.name)

    def _sweep_absences(self) -> None:
        for name in self._absences.over():
            self.give_up(name)
        for name, session in self._absences.lost_watchers():
            self.stop_watching(name, session)

    def _sweep(self, participant: Participant) -> None:
        if participant.session.is_lost():
            self.lose(participant)
            return
        if reason := participant.refused_for_good(self._patience):
            self.refuse(participant, reason)
            return
        for watcher in list(participant.watchers.values()):
            if watcher.session.is_lost():
                self.stop_watching(participant.name, watcher.session.id)

    def stats(self) -> dict[str, ParticipantStats]:
        """By name, of those whose media has come."""
        return {name: one.stats() for name, one in self.participants.items() if one.joined}

    def send_stats(self) -> None:
        if self._events:
            lost = {"reconnecting": self.reconnecting} if self.reconnecting else {}
            self._events.send("stats", {"participants": self.stats()} | lost)

    def tell(self, event: Event) -> None:
        self._events.send(event.name, event.data)

    def events(self, first: Sequence[Event] = ()) -> Listener:
        """Begins with those of `first`, a `joined` for everyone who is there, and a `reconnecting` for who may come
        back."""
        there = [Event("joined", {"participant": one.name}) for one in self.participants.values() if one.joined]
        lost = [Event("reconnecting", {"participant": name}) for name in self.reconnecting]
        return self._events.subscribe([*first, *there, *lost])

    async def close(self) -> None:
        for name in list(self._newcomers):
            self._drop_newcomer(name)
        for participant in list(self.participants.values()):
            self.leave(participant)
        for name in self._absences.names:
            self.give_up(name)
        self._events.close()
        await self._leaving.ended()
        self.remembered.forget_all()

    def _take_name(self, participant: Participant) -> None:
        """Raises RuntimeError where its threads cannot be started; all else is then as it was."""
        name = participant.name
        participant.session.on_over = lambda: self._over(participant)
        participant.on_media = lambda: self.media_came(participant)
        try:
            participant.start()
        except RuntimeError:  # there are too many threads
            participant.stop()
            raise
        self.participants[name] = participant
        remembered = self.remembered.take(name)
        if remembered is not None and remembered is not participant.people:
            remembered.forget(None)
        absence = self._absences.get(name)
        if absence is not None and absence.session.subject != participant.subject:
            self.give_up(name)

    def _take_over(self, participant: Participant) -> None:
        """A newcomer's media has come: it goes on for who watches, and who had the name ends."""
        name = participant.name
        newcomer, before = self._newcomers.get(name), self.participants.get(name)
        if newcomer is None or newcomer.participant is not participant or before is None:
            return
        watchers = before.hand_over()
        self._part(before)
        if self.participants.get(name) is participant:
            participant.take_on(watchers)
            self.media_came(participant)
        else:  # its threads could not be started
            for watcher in watchers.values():
                self._leaving.run(watcher.session.close())
            self._tell_left(before)

    def _over(self, participant: Participant) -> None:
        """Its connection is."""
        if participant.session.said_goodbye:
            self.leave(participant)
        else:
            self.lose(participant)

    def _part(self, participant: Participant) -> None:
        """It gives up its name, and ends in the background."""
        name, newcomer = participant.name, self._newcomers.get(participant.name)
        if newcomer is not None and newcomer.participant is participant:
            self._drop_newcomer(name)
            return
        if self.participants.get(name) is not participant:
            return
        del self.participants[name]
        participant.stop()
        self.remembered.keep(name, participant.people)
        if newcomer is not None:
            del self._newcomers[name]
            try:
                self._take_name(newcomer.participant)
            except RuntimeError:
                log.error("a newcomer cannot be shown: there are too many threads")
                self._leaving.run(self._closed(newcomer.participant))
        self._leaving.run(self._closed(participant))

    def _tell_left(self, participant: Participant) -> None:
        """Of one who has the name, or had it; who waits for it to come back waits no longer."""
        if participant.name in self._absences:
            self.give_up(participant.name)
        elif participant.joined:
            self._events.send("left", {"participant": participant.name})

    def give_up(self, name: str) -> None:
        """Nobody waits for that name's publisher any longer, who is absent."""
        for watcher in self._absences.end(name).watchers.values():
            self._leaving.run(watcher.session.close())
        self._events.send("left", {"participant": name})

    def _watchers_of(self, name: str) -> list[dict[str, Watcher]]:
        found = self.participants.get(name), self._absences.get(name)
        return [one.watchers for one in found if one is not None]

    def _drop_newcomer(self, name: str) -> None:
        newcomer = self._newcomers.pop(name, None)
        if newcomer is not None:
            newcomer.participant.stop()
            self._leaving.run(self._closed(newcomer.participant))

    async def _closed(self, participant: Participant) -> None:
        """Ends a participant who has left; what it knew goes, unless it is remembered or in use again."""
        try:
            await participant.close()
        finally:
            if not any(people is participant.people for people in self.all_people()):
                participant.people.forget(None)
