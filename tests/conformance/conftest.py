from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.conformance.relay import WHEP, WHIP, Side, serving

Serve = Callable[..., httpx.AsyncClient]


@pytest.fixture(scope="package", autouse=True)
def _no_collections() -> Iterator[None]:
    """Each stream that ends has all garbage collected, of which the tests' own process has much more than a relay's."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("server.rooms.participant.give_back_memory", lambda: None)
        yield


@pytest.fixture(scope="package")
def relay_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    many = {"max_streams": 1000, "max_watchers": 1000, "connect_timeout_s": 120}
    with serving(tmp_path_factory.mktemp("conformance"), **many) as url:
        yield url


@pytest.fixture
async def http(relay_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a relay with its usual settings, which all tests share: many sessions are made and left."""
    async with httpx.AsyncClient(base_url=relay_url, timeout=30) as client:
        yield client


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Makes clients of relays with other settings."""
    clients: list[httpx.AsyncClient] = []
    with ExitStack() as stack:

        def made(**settings: object) -> httpx.AsyncClient:
            url = stack.enter_context(serving(tmp_path / str(len(clients)), **settings))
            clients.append(httpx.AsyncClient(base_url=url, timeout=30))
            return clients[-1]

        yield made
        for client in clients:
            await client.aclose()


@pytest.fixture(params=[WHIP, WHEP], ids=lambda side: side.name)
def side(request: pytest.FixtureRequest) -> Side:
    chosen: Side = request.param
    return chosen
