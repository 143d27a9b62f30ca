"""Whether photos can be stored is asked of storage once for all who ask, and never on the threads of others."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest

from server.app import create_app
from server.exemplars.check import FRESH, StorageCheck
from server.exemplars.errors import StorageError
from server.exemplars.store import PhotoStore
from server.settings import Settings
from tests.unit.enhancer_stage import ByColour, Clock
from tests.unit.relay_fakes import FakeDetector, FakeEngine


class Stored:
    """looks: how often storage was asked; error: what it answers; hang: whether it answers only when it is let go."""

    def __init__(self) -> None:
        self.looks, self.error, self.hang = 0, "", False
        self.let_go = threading.Event()

    def check(self) -> None:
        self.looks += 1
        if self.hang:
            self.let_go.wait(60)
        if self.error:
            raise StorageError(self.error)


@pytest.fixture
def stored():
    made = Stored()
    yield made
    made.let_go.set()


async def test_storage_that_is_well_is_asked_again_after_some_seconds(stored):
    clock = Clock()
    check = StorageCheck(stored.check, clock)
    for _ in range(3):
        assert await check.now() is None
    assert stored.looks == 1
    clock.now += FRESH
    stored.error = "the disk is full"
    assert await check.now() == "the disk is full" and stored.looks == 2


async def test_storage_that_is_not_well_is_asked_each_time(stored):
    check = StorageCheck(stored.check, Clock())
    stored.error = "the disk is full"
    assert await check.now() == "the disk is full" == await check.now()
    stored.error = ""
    assert await check.now() is None and stored.looks == 3


async def test_storage_that_hangs_is_a_reason_and_holds_one_thread(stored):
    check = StorageCheck(stored.check, Clock())
    stored.hang = True
    assert await asyncio.gather(*(check.now(0.05) for _ in range(5))) == ["it does not answer"] * 5
    assert await check.now(60) == "it does not answer" and stored.looks == 1  # not waited for again
    stored.hang = False
    stored.let_go.set()
    while await check.now() is not None:
        await asyncio.sleep(0.01)
    assert stored.looks == 2


async def test_who_asks_and_goes_takes_nobodys_answer_away(stored):
    check = StorageCheck(stored.check, Clock())
    stored.hang = True
    first, second = asyncio.create_task(check.now(60)), asyncio.create_task(check.now(60))
    while not stored.looks:
        await asyncio.sleep(0.01)
    first.cancel()
    stored.let_go.set()
    assert await second is None and stored.looks == 1


async def test_with_storage_that_hangs_newcomers_have_their_threads_and_figures_are_shown(
    tmp_path, monkeypatch, stored
):
    stored.hang = True
    monkeypatch.setattr(PhotoStore, "check", lambda self: stored.check())
    app = create_app(Settings(data=tmp_path), FakeEngine(), FakeDetector(), ByColour())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        asking = [asyncio.create_task(client.get("/readyz")) for _ in range(64)]  # more than the default executor has
        while not stored.looks:
            await asyncio.sleep(0.01)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "a thread"), 20) == "a thread"
        figures = await asyncio.wait_for(client.get("/metrics"), 20)
        assert figures.status_code == 200 and stored.looks == 1
        stored.let_go.set()
        assert {(await one).status_code for one in asking} == {200}
        assert stored.looks == 1


async def test_figures_tell_of_storage_that_nobody_else_asks_for(tmp_path, monkeypatch, stored):
    stored.error = "the disk is full"
    monkeypatch.setattr(PhotoStore, "check", lambda self: stored.check())
    app = create_app(Settings(data=tmp_path), FakeEngine(), FakeDetector(), ByColour())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        while "hime_ready 0.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.01)
        stored.error = ""
        while "hime_ready 1.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.01)
