"""The events of one room out of those that each worker tells of its own participants."""

from __future__ import annotations

from typing import Any

from server.rooms.events import Event


class MergedRoom:
    """In the order in which they come. Statistics wait until all workers with participants have sent theirs: who is
    missing in them is taken to have left."""

    def __init__(self) -> None:
        self._joined: dict[str, int] = {}  # names, and whose they are
        self._lost: dict[str, int] = {}  # the same of those whose network is lost
        self._stats: dict[int, dict[str, Any]] = {}  # participants by worker, as it told last
        self._due: set[int] = set()  # workers who have not sent statistics since the last ones were told
        self._unready: set[int] = set()  # workers whose newest participants are not in their statistics yet

    def take(self, worker: int, event: Event) -> list[Event]:
        """What is to be told of an event of that worker."""
        if event.name == "stats":
            return self._take_stats(worker, event.data)
        if event.name == "draining":  # of one worker: the front tells when the relay ends
            return []
        name = event.data["participant"]
        if event.name == "joined":
            self._joined[name] = worker
            self._lost.pop(name, None)
            self._unready.add(worker)
        elif event.name == "reconnecting":
            self._joined.pop(name, None)
            self._lost[name] = worker
            self._stats.get(worker, {}).pop(name, None)
        elif event.name == "left":
            return self._leave(worker, name)
        return [event]

    def gone(self, worker: int) -> list[Event]:
        """The worker has ended, and its participants are there no longer."""
        self._due.discard(worker)
        self._unready.discard(worker)
        names = [name for there in (self._joined, self._lost) for name, at in there.items() if at == worker]
        events = [event for name in names for event in self._leave(worker, name)]
        self._stats.pop(worker, None)
        return events

    def first(self) -> list[Event]:
        """What somebody who begins to listen is told."""
        joined = [Event("joined", {"participant": name}) for name in self._joined]
        return [*joined, *(Event("reconnecting", {"participant": name}) for name in self._lost)]

    def _leave(self, worker: int, name: str) -> list[Event]:
        """Nothing where the name is another worker's by now."""
        self._stats.get(worker, {}).pop(name, None)
        there = self._joined if self._joined.get(name) == worker else self._lost
        if there.get(name) != worker:
            return []
        del there[name]
        return [Event("left", {"participant": name})]

    def _take_stats(self, worker: int, data: dict[str, Any]) -> list[Event]:
        """Also reconciles: events that were missed are made up for."""
        participants, lost = dict(data["participants"]), set(data.get("reconnecting", ()))
        events = [
            event
            for there, told in ((self._joined, participants), (self._lost, lost))
            for name in [name for name, at in there.items() if at == worker and name not in told]
            for event in self._leave(worker, name)
        ]
        again = worker in self._stats and worker not in self._due
        self._stats[worker] = participants
        self._unready.discard(worker)
        self._due.discard(worker)
        if (self._due and not again) or self._unready:
            return events
        self._due = set(self._stats)
        everyone = {name: told for each in self._stats.values() for name, told in each.items()}
        reconnecting = {"reconnecting": list(self._lost)} if self._lost else {}
        return [*events, Event("stats", {"participants": everyone} | reconnecting)]
