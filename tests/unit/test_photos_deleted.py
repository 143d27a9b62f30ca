"""A person is deleted, and then searched for: in the database's bytes, the files, the memory, calls, logs, metrics."""

import asyncio
import gc
import logging
import secrets
import time
import urllib.parse
import weakref
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from sqlalchemy import create_engine, inspect, text

from hime_core.engine.batching import BatchingEngine
from hime_core.engine.protocol import FaceRequest
from hime_core.people.people import People
from server.app import create_app
from server.exemplars.audit import AuditLog
from server.exemplars.store import DAY
from server.settings import Settings
from tests.unit.enhancer_stage import ByColour
from tests.unit.relay_fakes import LANDMARKS, FakeDetector, portrait

SIDE = 32


class Backend:
    """Runs no network; the engine around it, with what it keeps of exemplars, is the real one."""

    scale, max_batch, lanes, cutters = 4, 1, 1, 1

    def infer(self, lr, references):
        return np.zeros((len(lr), SIDE * self.scale, SIDE * self.scale, 3), np.uint8)


@pytest.fixture
def settings(tmp_path, database_url):
    return Settings(data=tmp_path / "data", client=tmp_path / "dist", database_url=database_url)


@asynccontextmanager
async def running(settings):
    engine = BatchingEngine(Backend())
    app = create_app(settings, engine, FakeDetector(), ByColour())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield app.state.relay, client
    engine.close()


def remembered(relay, room: str, person: str) -> People:
    """The people of a call that has just ended, and whose participant may come back: that person was expected."""
    people = relay.rooms._new_people()
    people.expect(person)
    relay.rooms._room(room).remembered.keep("cam", people)
    return people


async def register(client, person):
    files = [("photos", ("a.jpg", portrait(), "image/jpeg"))]
    answer = await client.post(f"/api/people/{person}/exemplars", files=files, data={"consent": "true"})
    assert answer.status_code == 201, answer.text
    return answer.json()["exemplars"][0]["id"]


async def add_stored(relay, people, name):
    for exemplar in await asyncio.to_thread(relay.photos.exemplars_of, name):
        people.expect(name).bank.add_photo(exemplar)


def all_files(settings):
    return b"".join(path.read_bytes() for path in settings.data.rglob("*") if path.is_file())


def sealed_row(settings, id):
    engine = create_engine(settings.database)
    with engine.connect() as connection:
        (sealed,) = connection.execute(text("SELECT sealed FROM photos WHERE id = :id"), {"id": id}).scalars()
    engine.dispose()
    return bytes(sealed)


def database_bytes(settings):
    """SQLite: the file, its log and its free pages, as they lie there. PostgreSQL: every value of every row."""
    if settings.database.startswith("sqlite"):
        return b"".join(path.read_bytes() for path in settings.data.glob("hime.db*"))
    engine = create_engine(settings.database)
    with engine.connect() as connection:
        values = [
            value if isinstance(value, bytes) else str(value).encode()
            for table in inspect(connection).get_table_names()
            for row in connection.execute(text(f'SELECT * FROM "{table}"'))
            for value in row
        ]
    engine.dispose()
    return b"\n".join(values)


def texts_with(number: int) -> list[str]:
    """What holds each text with the planted number, of all that is alive."""
    planted = f"{number:016x}"
    gc.collect()
    return [
        type(holder).__name__
        for holder in gc.get_objects()
        for one in gc.get_referents(holder)
        if type(one) is str and planted in one and one is not planted
    ]


def prepare(relay, people) -> list[weakref.ref]:
    """Shows the exemplars to the engine, which prepares and keeps them; references that do not keep them alive."""
    landmarks = (LANDMARKS - LANDMARKS.min(0)) / 4
    exemplars = tuple(people.exemplars())
    request = FaceRequest(np.zeros((SIDE, SIDE, 3), np.uint8), landmarks, exemplars)
    relay.engine.submit([request])[0].result(10)
    return [weakref.ref(exemplar) for exemplar in exemplars]


async def gone(alive):
    """Threads may be about to let go of what they have just worked on."""
    deadline = time.monotonic() + 20
    while any(one() for one in alive) and time.monotonic() < deadline:
        gc.collect()
        await asyncio.sleep(0.02)
    assert [one() for one in alive] == [None] * len(alive)


async def test_of_a_person_who_is_deleted_nothing_is_left(settings, caplog):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "httpx")  # the client of this test, not the relay
    number = secrets.randbits(64)

    def name():  # nothing here keeps it
        return f"Planted{number:016x}"

    planted = f"{number:016x}".encode()
    async with running(settings) as (relay, client):
        known = remembered(relay, "a", name())
        id, kept = await register(client, name()), await register(client, "bob")
        later = remembered(relay, "b", name())  # a call that began with the photos that were stored
        await add_stored(relay, later, name())
        alive = prepare(relay, known) + prepare(relay, later)
        assert len(alive) == 2 and all(one() for one in alive) and len(relay.engine._runner.cutter._prepared) == 2
        sealed, picture = sealed_row(settings, id), (settings.data / "photos" / f"{id}.jpg").read_bytes()
        # Each search below finds what is still there.
        assert sealed in database_bytes(settings) and picture in all_files(settings) and texts_with(number)

        assert (await client.delete(f"/api/people/{name()}")).status_code == 204

        database, files = database_bytes(settings), all_files(settings)
        for part in (sealed, sealed[40:56], planted):
            assert part not in database and part not in files
        for at in range(0, len(picture) - 64, 64):
            assert picture[at : at + 64] not in files
        assert [path.name for path in (settings.data / "photos").iterdir()] == [f"{kept}.jpg"]
        urllib.parse.clear_cache()  # of this test's client, which splits the addresses that it asks for
        await gone(alive)
        assert len(relay.engine._runner.cutter._prepared) == 0
        assert known.everyone() == [] and later.everyone() == []
        assert texts_with(number) == []
        for path in ("/metrics", "/api/stats", "/api/rooms/a", "/api/rooms/b"):
            assert planted not in (await client.get(path)).content
        assert (await client.get(f"/api/people/{name()}/exemplars")).json()["exemplars"] == []
        assert (await client.get(f"/api/people/{name()}/exemplars/{id}")).status_code == 404
        about = AuditLog(relay.photos._storage).entries(name())
        assert [entry.action for entry in about][-2:] == ["forget", "delete"]
    assert planted.decode() not in caplog.text


async def test_of_an_expired_photo_nothing_is_left(settings):
    async with running(settings) as (relay, client):
        id = await register(client, "ann")
        sealed, picture = sealed_row(settings, id), (settings.data / "photos" / f"{id}.jpg").read_bytes()
        relay.photos._clock = lambda: time.time() + 366 * DAY
        await relay.exemplars.purge()
        assert sealed not in database_bytes(settings) and sealed not in all_files(settings)
        assert picture[40:104] not in all_files(settings)
