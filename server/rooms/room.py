"""A room: its participants, and the events that tell of them. All state of a call lives here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from server.media.session import Session
from server.rooms.events import Event, Events
from server.rooms.participant import Participant

log = logging.getLogger(__name__)


class Room:
    """Used in the event loop's thread only."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.participants: dict[str, Participant] = {}
        self._events = Events()
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> bool:
        """Whether nobody is in it or listens to it."""
        return not (self.participants or self._events or self._leaving)

    def enter(self, participant: Participant) -> None:
        """The participant takes its name; one who had it leaves."""
        before = self.participants.get(participant.name)
        if before is not None:
            self.leave(before)
        self.participants[participant.name] = participant
        participant.session.on_over = lambda: self.leave(participant)
        participant.on_media = lambda: self.media_came(participant)

    def media_came(self, participant: Participant) -> None:
        """Called once per participant, with the first frame or audio packet."""
        if not participant.joined and self.participants.get(participant.name) is participant:
            participant.joined = True
            self._events.send("joined", {"participant": participant.name})

    def leave(self, participant: Participant) -> None:
        """Shows at once; connections and threads end in the background."""
        if self.participants.get(participant.name) is not participant:
            return
        del self.participants[participant.name]
        if participant.joined:
            self._events.send("left", {"participant": participant.name})
        self._in_background(participant.close())

    def stop_watching(self, participant: Participant, session: Session) -> None:
        if participant.watchers.pop(session.id, None) is not None:
            self._in_background(session.close())

    def sweep(self) -> None:
        """Those whose network is lost leave."""
        for participant in list(self.participants.values()):
            if participant.session.is_lost():
                self.leave(participant)
                continue
            for session in list(participant.watchers.values()):
                if session.is_lost():
                    self.stop_watching(participant, session)

    def stats(self) -> dict[str, Any]:
        """By name, of those whose media has come."""
        return {name: one.stats() for name, one in self.participants.items() if one.joined}

    def send_stats(self) -> None:
        if self._events:
            self._events.send("stats", {"participants": self.stats()})

    def events(self) -> AsyncIterator[Event]:
        """Begins with a `joined` for everyone who is there."""
        there = [Event("joined", {"participant": one.name}) for one in self.participants.values() if one.joined]
        return self._events.subscribe(there)

    async def close(self) -> None:
        for participant in list(self.participants.values()):
            self.leave(participant)
        self._events.close()
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _in_background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._leaving.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._leaving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a session did not end cleanly", exc_info=error)
