"""A session of a client that is made anew when it is lost, or its relay is, as the page does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx

from server.client.link import Link
from server.client.nodes import Nodes
from server.client.peer import Connection, Refused, participants

LOOK = 0.4  # seconds between looks at whether the relay is there, and has the session
LOOK_WITHIN = 1.0  # seconds that it may take to answer one
MISSED = 2  # looks in a row without an answer, or without the own name, after which it is lost
FIRST_PAUSE, LONGEST_PAUSE = 0.4, 5.0  # seconds before another attempt, doubled each time ...
SOON = 6.0  # ... from so many seconds after the loss on: within these, another node takes the room
CLOSING = 1.0  # seconds that ending a lost session may take
PASSING = (None, 404, 408, 409, 429, 502, 503, 504)  # refusals that may be over soon; None: nobody answered
THERE = (401, 403, 429)  # refusals by a relay that may well have the session, as when the token has expired meanwhile

Connect = Callable[[Connection, Link], Awaitable[None]]


class Kept:
    """sessions: how many there have been."""

    def __init__(self, http: httpx.AsyncClient, nodes: Nodes, connect: Connect, publishes: bool) -> None:
        """connect: makes the session of that connection, at the relay of that link."""
        self.sessions = 0
        self._http, self._nodes, self._connect, self._publishes = http, nodes, connect, publishes

    async def run(self) -> None:
        """Until it is cancelled. Raises Refused where another attempt would change nothing, or no relay ever answered,
        and TimeoutError where no connection ever came about."""
        pause, reached, clock = FIRST_PAUSE, False, asyncio.get_running_loop().time
        lost = clock()
        while True:
            connection: Connection | None = None
            try:
                link = await self._nodes.find()
                reached = True
                connection = Connection(self._http, link)
                await self._connect(connection, link)
                self.sessions, pause = self.sessions + 1, FIRST_PAUSE
                await self._lost(connection, link)
                lost = clock()
            except (Refused, TimeoutError) as error:
                passing = isinstance(error, Refused) and error.status in PASSING
                if not reached or not (passing or (self.sessions and isinstance(error, TimeoutError))):
                    raise
            finally:
                if connection is not None:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(connection.close(), CLOSING)
            await asyncio.sleep(pause)
            if clock() > lost + SOON:
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _lost(self, connection: Connection, link: Link) -> None:
        """Returns when it is."""
        missed, seen = 0, not self._publishes
        while missed < MISSED and not connection.ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(connection.ended.wait(), LOOK)
            try:
                there = link.name in await participants(self._http, link, LOOK_WITHIN)
            except Refused as error:
                missed = 0 if error.status in THERE else missed + 1
                continue
            seen = seen or there
            missed = missed + 1 if self._publishes and seen and not there else 0
