"""When a client takes its session to be lost, and what it tries again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from server.client import rejoin
from server.client.link import Link
from server.client.nodes import Nodes
from server.client.peer import Connection, Refused
from server.client.rejoin import Kept

LINK = Link("https://one.test", "den", "ann", "TOKEN")
LOOKS = 6


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK", "FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(rejoin, name, 0.001)


@asynccontextmanager
async def kept(status: int, refusals: list[int]) -> AsyncIterator[Kept]:
    """As it is after some looks, which are answered with that status. refusals: of the sessions after the first."""
    looks, enough = 0, asyncio.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal looks
        if request.url.path.endswith("/node"):
            return httpx.Response(404)
        looks += 1
        if looks >= LOOKS:
            enough.set()
        return httpx.Response(status)

    async def connect(connection: Connection, link: Link) -> None:
        if one.sessions and refusals:
            raise Refused("refused", refusals.pop())

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        one = Kept(http, Nodes(http, LINK), connect, publishes=True)
        running, waiting = asyncio.create_task(one.run()), asyncio.create_task(enough.wait())
        try:
            await asyncio.wait([running, waiting], timeout=10, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            assert waiting.done()
            yield one
        finally:
            running.cancel()
            waiting.cancel()


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_a_session_goes_on_where_looks_are_refused(status: int) -> None:
    async with kept(status, []) as one:
        assert one.sessions == 1


@pytest.mark.parametrize("status", [404, 502, 503])
async def test_a_session_is_made_anew_where_the_relay_is_away_or_knows_nothing_of_it(status: int) -> None:
    async with kept(status, []) as one:
        assert one.sessions > 1


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_proxy_without_its_relay_is_asked_again(status: int) -> None:
    async with kept(502, [status]) as one:
        assert one.sessions > 1


async def test_a_refusal_for_good_ends_it() -> None:
    with pytest.raises(Refused, match="refused"):
        async with kept(502, [401]):
            pass
