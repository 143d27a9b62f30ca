"""A relay as one node of several: it tells the directory of itself, and knows what that answers."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

from server.access.origins import Allowed
from server.cluster.link import ClusterAway
from server.cluster.orders import DIRECTORY
from server.cluster.told import Beat, Change, View
from server.limits.rates import Count, uncounted
from server.problems import Problem

EVERY = 0.5  # seconds between two beats
ANSWER_WITHIN = 2.0  # seconds for a beat, and for the place of a room
AGAIN = 0.1  # seconds until the directory is asked again
CONFIRMED_WITHIN = 5.0  # seconds in which the others forget what was deleted
MOST_CHANGES = 256  # that wait to be carried out; where there are more, a comparison with storage stands for them all

log = logging.getLogger(__name__)


class Asks(Protocol):
    """A Link, as far as it matters here."""

    @property
    def there(self) -> bool: ...

    def ask(self, actor: str, method: str, *args: Any) -> Future[Any]: ...

    def ask_last(self, actor: str, method: str, *args: Any) -> None: ...


class Carried(Protocol):
    """What the node is: one relay, or a front with its workers."""

    def rooms(self) -> frozenset[str]: ...

    def free(self) -> int:
        """Publishers that it has room for."""
        ...

    async def change(self, change: Change) -> None: ...

    async def compare_with_storage(self) -> None: ...

    def give_up(self, room: str) -> None:
        """Another node has the room. Told with each beat until it is no longer here."""
        ...


@dataclass(frozen=True)
class _Waiting:
    """What is to be carried out: a change, or a comparison of what goes on here with storage; nothing, where the change
    was made here."""

    directory: str
    number: int
    change: Change | None = None
    compare: bool = False


class Origins:
    """The other nodes' URLs, as browsers name origins: those that there are now, and were a short while ago."""

    def __init__(self, given: Sequence[str] = ()) -> None:
        """given: others that are allowed, too."""
        self._given, self._nodes = Allowed(given), tuple[str, ...]()

    def learn(self, urls: Sequence[str]) -> None:
        self._nodes = (*urls, *(url for url in self._nodes if url not in urls))[:1024]

    def __contains__(self, origin: object) -> bool:
        return origin in self._given or origin in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter((*self._given, *self._nodes))

    def __len__(self) -> int:
        return len(self._given) + len(self._nodes)


class Node:
    """For the event loop. What it knows of others goes on to count while Ray is away; a room that nobody is known to
    have is its own then."""

    def __init__(self, url: str, link: Asks, origins: Origins, failed: Count = uncounted) -> None:
        """url: where browsers reach it; failed: counts parts that failed, by a fixed word."""
        self.id, self.url, self.origins = secrets.token_hex(8), url, origins
        self._link, self._failed = link, failed
        self._carried: Carried | None = None
        self._view = View("", {}, {})
        self._heard, self._done = 0, -1
        self._changes: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._unfinished: _Waiting | None = None
        self.away = True  # whether the directory did not answer the last time

    @property
    def urls(self) -> list[str]:
        """All nodes', as far as is known."""
        return sorted({self.url, *self._view.nodes.values()})

    def carry(self, carried: Carried) -> None:
        """To be called before it runs."""
        self._carried = carried

    async def beat_forever(self) -> None:
        self._link.ask_last(DIRECTORY, "leave", self.id)
        while True:
            await self.beat()
            await asyncio.sleep(EVERY)

    async def beat(self) -> None:
        """Tells of itself, and learns of the others."""
        assert self._carried is not None
        carried, view = self._carried, self._view
        heard, done = self._heard, self._done
        told = Beat(self.id, self.url, carried.free(), carried.rooms(), view.directory, heard, done)
        answer = await self._asked("beat", told)
        if answer is None:
            if not self.away:
                self._failed("cluster")
            self.away = True
            return
        self.away = False
        self._learn(answer)

    async def change_forever(self) -> None:
        """Carries out what others have changed, one after the other."""
        assert self._carried is not None
        while True:
            waiting = self._unfinished or await self._changes.get()
            # What could not be carried out is found in storage, before anything that came later.
            self._unfinished = replace(waiting, change=None, compare=True)
            if waiting.compare:
                await self._carried.compare_with_storage()
            elif waiting.change is not None:
                await self._carried.change(waiting.change)
            self._unfinished = None
            if waiting.directory == self._view.directory:
                self._done = max(self._done, waiting.number)

    def knows(self, room: str) -> bool:
        """Whether the room is somebody's, as far as is known here."""
        assert self._carried is not None
        return room in self._view.rooms or room in self._carried.rooms()

    async def owner(self, room: str, claim: bool) -> str | None:
        """The URL of the node that has a room; None where it is this one, or nobody's. claim: the room is about to be
        used, and is to be somebody's."""
        assert self._carried is not None
        known = self._view.rooms.get(room)
        mine = room in self._carried.rooms() and room not in self._view.taken
        if known is None and claim and not mine:
            known = await self._placed(room)
            if known is not None:
                self._view.rooms[room] = known  # until the directory's next word
        return None if mine or known in (None, self.id) else self._view.nodes.get(str(known))

    async def added(self, person: str, ids: Sequence[str]) -> None:
        """As Elsewhere has it."""
        await self._asked("announce", self.id, Change("added", person, tuple(ids)))

    async def forget(self, person: str | None, ids: Sequence[str]) -> None:
        """As Elsewhere has it. Raises Problem 503."""
        if person is None and not ids:
            return
        try:
            async with asyncio.timeout(CONFIRMED_WITHIN):
                announced = await self._asked("announce", self.id, Change("forgotten", person, tuple(ids)))
                while announced is not None:
                    if await self._asked("carried_out", self.id, *announced):
                        return
                    await asyncio.sleep(AGAIN)
        except TimeoutError:
            pass
        self._failed("cluster")
        detail = "What runs now on other machines may still use what was to be deleted, as one does not answer."
        raise Problem(503, f"{detail} Ask again.", {"Retry-After": "5"}, kind="photos-unavailable")

    async def _placed(self, room: str) -> str | None:
        """Where the directory does not answer soon, this node takes the room."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                while self._link.there and not self.away:
                    placed: str | None = await self._asked("place", room, self.id)
                    if placed is not None and (placed == self.id or placed in self._view.nodes):
                        return placed
                    await asyncio.sleep(AGAIN)
        except TimeoutError:
            self._failed("cluster")
        return None

    async def _asked(self, method: str, *args: Any) -> Any:
        """None where the directory does not answer."""
        asked = asyncio.wrap_future(self._link.ask(DIRECTORY, method, *args))
        try:
            return await asyncio.wait_for(asked, ANSWER_WITHIN)
        except TimeoutError:
            return None
        except ClusterAway:
            return None

    def _learn(self, view: View) -> None:
        assert self._carried is not None
        if view.directory != self._view.directory:
            self._done = -1
        self._view, self._heard = view, view.number
        self.origins.learn([url for id, url in view.nodes.items() if id != self.id])
        if view.missed or self._changes.qsize() + len(view.changes) > MOST_CHANGES:
            while not self._changes.empty():
                self._changes.get_nowait()
            self._changes.put_nowait(_Waiting(view.directory, view.number, compare=True))
        else:
            for one in view.changes:
                change = None if one.by == self.id else one.change
                self._changes.put_nowait(_Waiting(view.directory, one.number, change))
        for room in view.taken:
            self._carried.give_up(room)
