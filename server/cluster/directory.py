"""The directory: which node has which room, and what all nodes are to be told. Plain Python; an actor wraps it."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from server.cluster.told import Beat, Change, Numbered, View

LOST_AFTER = 2.0  # seconds without a beat, of which there are two a second, after which a node's rooms are free
SETTLING = 1.5  # seconds from its start until every node that is there has told of its rooms
RESERVED = 10.0  # seconds that a room is a node's which has not told of it
REMEMBERED = 10_000  # changes


@dataclass
class _Node:
    beat: Beat
    heard: float  # clock seconds of the last beat


@dataclass
class _Place:
    """reserved: clock seconds until which it is kept without being told of; 0 once it was."""

    node: str
    reserved: float


class Directory:
    """Nothing of it has to be kept: after a restart, nodes' beats tell all of it again. Not thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.id = secrets.token_hex(8)
        self._clock, self._began = clock, clock()
        self._nodes: dict[str, _Node] = {}
        self._rooms: dict[str, _Place] = {}
        self._changes: deque[Numbered] = deque(maxlen=REMEMBERED)
        self._last = 0

    def beat(self, beat: Beat) -> View:
        now = self._clock()
        self._nodes[beat.node] = _Node(beat, now)
        self._sweep(now)
        for room in [room for room, place in self._rooms.items() if place.node == beat.node]:
            if room not in beat.rooms and self._rooms[room].reserved < now:
                del self._rooms[room]
        taken = set()
        for room in beat.rooms:
            place = self._rooms.setdefault(room, _Place(beat.node, 0.0))
            if place.node == beat.node:
                place.reserved = 0.0
            else:
                taken.add(room)
        known = beat.directory == self.id
        oldest = self._changes[0].number if self._changes else self._last + 1
        return View(
            directory=self.id,
            nodes={id: node.beat.url for id, node in self._nodes.items()},
            rooms={room: place.node for room, place in self._rooms.items()},
            taken=frozenset(taken),
            changes=tuple(one for one in self._changes if known and one.number > beat.heard),
            number=self._last,
            missed=not known or beat.heard + 1 < oldest,
        )

    def place(self, room: str, asking: str) -> str | None:
        """The node that has the room; where nobody has it, the one with most room left, which has it from now on; of
        several, the one that asks. None while it is not known yet who is there."""
        now = self._clock()
        self._sweep(now)
        if there := self._rooms.get(room):
            return there.node
        if now < self._began + SETTLING or not self._nodes:
            return None
        promised = {id: 0 for id in self._nodes}
        for place in self._rooms.values():
            if place.reserved:
                promised[place.node] += 1
        chosen = max(self._nodes, key=lambda id: (self._nodes[id].beat.free - promised[id], id == asking, id))
        self._rooms[room] = _Place(chosen, now + RESERVED)
        return chosen

    def leave(self, node: str) -> None:
        """The node has ended."""
        self._nodes.pop(node, None)
        self._rooms = {room: place for room, place in self._rooms.items() if place.node != node}

    def announce(self, node: str, change: Change) -> tuple[str, int]:
        """All others are told with their next beats. What `carried_out` is asked with."""
        self._last += 1
        self._changes.append(Numbered(self._last, node, change))
        return self.id, self._last

    def carried_out(self, node: str, directory: str, number: int) -> bool:
        """Whether all nodes that are there but that one have. A directory that was started anew knows nothing of
        changes before, and tells all nodes to look at storage: they have when they have done that."""
        self._sweep(self._clock())
        others = [one.beat for id, one in self._nodes.items() if id != node]
        least = number if directory == self.id else 0
        return all(beat.directory == self.id and beat.done >= least for beat in others)

    def _sweep(self, now: float) -> None:
        for id in [id for id, node in self._nodes.items() if now - node.heard > LOST_AFTER]:
            self.leave(id)
        for room in [room for room, place in self._rooms.items() if 0 < place.reserved < now]:
            del self._rooms[room]
