"""The page behind a load balancer that redirects (RFC 9725, section 4.5)."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tests.browser.conftest import Server, open_context, until
from tests.browser.watched import asks
from tests.conformance.relay import running


class Balancer:
    """Serves the relay's pages, and answers each offer with 307 to a path of its own, where the relay is asked."""

    def __init__(self, relay: str) -> None:
        self.offers: list[str] = []
        self._relay = relay
        methods = ["GET", "POST", "PATCH", "DELETE", "OPTIONS"]
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        if request.method == "POST" and path.startswith(("/whip/", "/whep/")):
            return RedirectResponse(f"/node{path}?{request.url.query}", 307)
        if request.method == "POST" and path.startswith("/node/"):
            self.offers.append(path)
        async with httpx.AsyncClient(base_url=self._relay, timeout=30) as http:
            url = f"{path.removeprefix('/node')}?{request.url.query}"
            kept = {name: request.headers[name] for name in ("content-type", "if-match") if name in request.headers}
            if path.endswith("/events"):  # goes on and on; the page asks for the room's state as well
                return Response(status_code=503)
            answer = await http.request(request.method, url, content=await request.body(), headers=kept)
        told = {name: answer.headers[name] for name in ("content-type", "location", "link") if name in answer.headers}
        return Response(answer.content, answer.status_code, told)


@pytest.fixture
def balancer(server: Server) -> Iterator[tuple[Balancer, str]]:
    made = Balancer(server.url)
    with running(made.app) as url:
        yield made, url.replace("127.0.0.1", "localhost")


def test_the_page_follows_a_redirect(balancer: tuple[Balancer, str], server: Server, plain_browser: Browser) -> None:
    """307 keeps the POST and its offer, and the session that is named afterwards is the one that is deleted."""
    made, url = balancer
    context = open_context(plain_browser)
    page = context.new_page()
    try:
        asks(page)
        page.goto(f"{url}/?room=redirected&name=ann&autojoin=1")
        page.get_by_role("button", name="Join redirected as ann").click()
        until(lambda: "/node/whip/redirected/ann" in made.offers, 30, "no offer came where the redirect led")

        def there() -> bool:
            return "ann" in httpx.get(f"{server.url}/api/rooms/redirected").json()["participants"]

        until(there, 30, "the page is in no room")
        page.get_by_role("button", name="Leave").click()
        until(lambda: not there(), 30, "the page's session goes on")
    finally:
        context.close()
