"""One call of the load: a publisher, and those who watch it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx
from aiortc import RTCIceServer

from server.client.link import Link
from server.client.load.encoded import EncodedClip
from server.client.load.light import add_publisher, add_watcher
from server.client.load.replay import Replay
from server.client.load.sink import Reader, Sink
from server.client.load.tally import Tally
from server.client.nodes import Nodes
from server.client.peer import Connection, Refused

PATIENCE = 10.0  # seconds that a watcher waits for the relay to know the publisher
UNKNOWN_YET = (404, 409, 425)  # what relays answer until then
POLL = 0.2  # seconds
TOKEN_MINUTES = 1440
CLOSING = 10.0  # seconds


@dataclass(frozen=True)
class CallPlan:
    """What every call is made of. room: that of all, where they are together, or what the rooms' names begin with;
    name: what the publishers' begin with. alone: whether there is one call only, under just these names.

    query: of the watchers' requests; whip, whep: paths with {room} and {name}; key: NAME:SECRET, by which the relay
    makes a token for each call; token: for all, where there is no key.
    """

    base: str
    clip: EncodedClip = field(repr=False)
    room: str = "load"
    name: str = "load"
    alone: bool = False
    together: bool = False
    watchers: int = 1
    query: str = "view=enhanced&layout=upscale"
    whip: str = "/whip/{room}/{name}"
    whep: str = "/whep/{room}/{name}"
    token: str = field(default="", repr=False)
    key: str = field(default="", repr=False)

    @property
    def own_paths(self) -> bool:
        """Whether it is a HIME Relay, which may be one of several nodes."""
        return self.whip == CallPlan.whip

    def link(self, number: int) -> Link:
        room = self.room if self.together or self.alone else f"{self.room}-{number}"
        return Link(self.base, room, self.name if self.alone else f"{self.name}-{number}", self.token)


@dataclass(frozen=True)
class CallFigures:
    """Of one call in one window. late: how late each of the frames sent has left, as a Tally counts times;
    first_frames: seconds from the watchers' requests to their first."""

    number: int
    late: Counter[int]
    tally: Tally
    first_frames: tuple[float, ...]

    @property
    def sent(self) -> int:
        """Frames."""
        return self.late.total()


class Call:
    """For one event loop."""

    def __init__(
        self,
        plan: CallPlan,
        number: int,
        http: httpx.AsyncClient,
        read: Reader,
        servers: tuple[RTCIceServer, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """read: as a Sink's; servers: for ICE."""
        self.number = number
        self._plan, self._http, self._read, self._clock = plan, http, read, clock
        self._servers = servers
        self._link = plan.link(number)
        self._replay = Replay(plan.clip, clock)
        self._sinks: list[tuple[float, Sink]] = []  # since when each has asked to watch
        self._connections: list[Connection] = []

    async def join(self) -> None:
        """Raises Refused, and TimeoutError where no connection comes about; what has come about is then still to be
        left."""
        if self._plan.key:
            self._link = Link(self._link.base, self._link.room, self._link.name, await self._token())
        if self._plan.own_paths:
            self._link = await Nodes(self._http, self._link).find()
        publisher, codec = self._connection(), self._plan.clip.codec
        await publisher.open(self._path(self._plan.whip), lambda pc: add_publisher(pc, self._replay, codec))
        for _ in range(self._plan.watchers):
            await self._watch()

    def begin(self, window: int) -> None:
        """What is sent from here on counts to that window."""
        self._replay.log.window = window
        for _, sink in self._sinks:
            sink.begin()

    def figures(self, window: int) -> CallFigures:
        return CallFigures(
            self.number,
            self._replay.log.late.get(window, Counter()),
            Tally.together(sink.tally(window) for _, sink in self._sinks),
            tuple(sink.first_frame - since for since, sink in self._sinks if sink.first_frame is not None),
        )

    async def leave(self) -> None:
        """Ends its sessions, by DELETE too."""
        self._replay.stop()
        for connection in reversed(self._connections):
            try:
                async with asyncio.timeout(CLOSING):
                    await connection.close()
            except TimeoutError:  # the relay has stalled: the others are still to be told
                continue

    def _connection(self) -> Connection:
        self._connections.append(Connection(self._http, self._link, self._servers))
        return self._connections[-1]

    def _path(self, template: str) -> str:
        link = self._link
        return template.replace("{room}", quote(link.room)).replace("{name}", quote(link.name))

    async def _watch(self) -> None:
        sink, codec = Sink(self._plan.clip.codec, self._replay.log, self._read, self._clock), self._plan.clip.codec
        path, since = self._path(self._plan.whep), self._clock()
        if self._plan.query:
            path += ("&" if "?" in path else "?") + self._plan.query
        while True:
            connection = self._connection()
            try:
                await connection.open(path, lambda pc: add_watcher(pc, sink, codec))
                self._sinks.append((since, sink))
                return
            except Refused as error:
                await connection.close()
                self._connections.remove(connection)
                if error.status not in UNKNOWN_YET or self._clock() - since > PATIENCE:
                    raise
            await asyncio.sleep(POLL)

    async def _token(self) -> str:
        """Raises Refused."""
        asked = {"room": self._link.room, "name": self._link.name, "minutes": TOKEN_MINUTES}
        headers = {"Authorization": f"Bearer {self._plan.key}"}
        try:
            answer = await self._http.post("/api/tokens", json=asked, headers=headers)
            if answer.status_code < 300:
                return str(answer.json()["token"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Refused(f"the relay makes no token ({type(error).__name__})") from None
        raise Refused(f"the relay makes no token with that key ({answer.status_code})", answer.status_code)
