"""What the texts ask of clients, of ours that is no browser: `hime join`. The page's are in client_web/tests and
tests/browser."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from benchmarks.shared.peers import MovingVideo, until
from server.client.link import parse_link
from server.client.peer import Connection, Refused
from tests.conformance.conftest import Serve
from tests.conformance.relay import running


class Balancer:
    """Sends every offer to the relay behind it, as a load balancer does that is no proxy."""

    def __init__(self, relay: str, status: int = 307) -> None:
        self.asked: list[str] = []

        async def send_on(request: Request) -> Response:
            self.asked.append(request.method)
            if request.method == "OPTIONS":
                return Response(status_code=204)
            return RedirectResponse(f"{relay}{request.url.path}?{request.url.query}", status)

        self.app = Starlette(routes=[Route("/{path:path}", send_on, methods=["OPTIONS", "POST", "PATCH", "DELETE"])])


@pytest.fixture
def balanced(relay_url: str) -> Iterator[tuple[Balancer, str]]:
    balancer = Balancer(relay_url)
    with running(balancer.app) as url:
        yield balancer, url


async def test_hime_join_follows_a_redirect(balanced: tuple[Balancer, str], http: httpx.AsyncClient) -> None:
    """WHIP 4.5, WHEP 4.6 (RFC 9110, section 15.4.8): after 307 the offer is POSTed again where it is sent, and the
    session is relative to there: its DELETE goes to the relay, not to the balancer."""
    balancer, url = balanced
    link = parse_link(url, "redirected", "ann")
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        publisher, watcher = Connection(client, link), Connection(client, link)
        seen: list[object] = []
        try:
            await publisher.publish([MovingVideo()])
            await until(lambda: publisher._location)
            await watcher.watch("ann", "view=original", seen.append)
            assert seen
            assert "ann" in (await http.get("/api/rooms/redirected")).json()["participants"]
        finally:
            await watcher.close()
            await publisher.close()
    assert "ann" not in (await http.get("/api/rooms/redirected")).json()["participants"]
    assert balancer.asked == ["OPTIONS", "POST"] * 2


async def test_hime_join_shows_its_token_to_nobody_else(serve: Serve) -> None:
    """WHIP 4.7.1; RFC 9110, section 15.4: who redirects to another origin does not hand the token on with it."""
    shown: list[str | None] = []

    async def take(request: Request) -> Response:
        shown.append(request.headers.get("authorization"))
        return Response("no SDP", 201, {"Location": "/session"})

    other = Starlette(routes=[Route("/{path:path}", take, methods=["POST", "DELETE"])])
    with running(other) as elsewhere, running(Balancer(elsewhere).app) as url:
        link = parse_link(url, "r", "ann", _token())
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            connection = Connection(client, link)
            with pytest.raises(ValueError):
                await connection.publish([MovingVideo()])
            await connection.close()
    assert shown == [None, None]  # with the offer, and with the session's end


async def test_hime_join_takes_an_unknown_error_for_one_of_its_kind() -> None:
    """WHIP 4.1, WHEP 4.1: clients fall back to what the first digit says, and ask for no particular body."""

    async def refuse(request: Request) -> Response:
        return Response(status_code=204) if request.method == "OPTIONS" else Response("teapot", 418)

    app = Starlette(routes=[Route("/{path:path}", refuse, methods=["OPTIONS", "POST"])])
    with running(app) as url:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            connection = Connection(client, parse_link(url, "r", "ann"))
            with pytest.raises(Refused, match="418"):
                await connection.publish([MovingVideo()])
            await connection.close()


def _token() -> str:
    from tests.unit.access_world import token

    return token(publish=True)
