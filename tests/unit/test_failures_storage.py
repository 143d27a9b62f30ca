"""Photos while the disk, the database or the clock fails: refused with 503 or kept whole, and calls go on."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import time

import httpx
import pytest

from server.exemplars.files import Files
from server.exemplars.service import DAY
from tests.unit.exemplar_world import URL, World, register
from tests.unit.relay_fakes import portrait

HOUR = 3600.0


def made(tmp_path, **settings) -> World:
    return World(tmp_path / "data", **settings)


async def closed(world: World) -> None:
    world.service.close()
    world.store.close()


def client_of(world: World) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://localhost")


async def is_refused(client) -> None:
    answer = await register(client, portrait())
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_full_disk_refuses_photos_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    world = made(tmp_path)
    async with client_of(world) as client:
        assert (await register(client, portrait())).status_code == 201
        kept = world.files()
        write = Files._replace

        def full(self, path, draft, data):
            write(self, draft, draft, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

        monkeypatch.setattr(Files, "_replace", full)
        await is_refused(client)
        assert world.files() == kept
        assert len((await client.get(URL)).json()["exemplars"]) == 1  # what was kept is read
        monkeypatch.undo()
        assert (await register(client, portrait())).status_code == 201
    await closed(world)


async def test_a_disk_that_is_really_full(tmp_path):
    """A file system of half a megabyte; the database is on it too."""
    place = tmp_path / "data"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a file system needs rights that this test does not have")
    try:
        world = made(tmp_path)
        async with client_of(world) as client:
            assert (await register(client, portrait())).status_code == 201
            kept = world.files()
            with open(place / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
                while True:
                    filler.write(bytes(4096))
            await is_refused(client)
            assert world.files() == kept
            assert (await client.get(URL)).status_code == 200
            (place / "filler").unlink()
            assert (await register(client, portrait())).status_code == 201
            assert len((await client.get(URL)).json()["exemplars"]) == 2
            assert (await client.delete("/api/people/ann")).status_code == 204
            assert world.files() == []
        await closed(world)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


async def test_a_locked_database_refuses_photos_and_serves_again(tmp_path):
    database = tmp_path / "hime.db"
    world = made(tmp_path, database_url=f"sqlite:///{database}?timeout=0.1")
    async with client_of(world) as client:
        assert (await register(client, portrait())).status_code == 201
        with sqlite3.connect(database, isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            await is_refused(client)
            assert (await client.delete("/api/people/ann")).status_code == 503
            other.execute("ROLLBACK")
        assert (await register(client, portrait())).status_code == 201
        assert (await client.delete("/api/people/ann")).status_code == 204
    other.close()
    await closed(world)


async def test_a_database_that_is_gone_and_comes_back(tmp_path):
    """Moved away in the middle, as by a mount that is lost, and restored from a copy."""
    world = made(tmp_path)
    data, copy = tmp_path / "data", tmp_path / "copy"
    async with client_of(world) as client:
        assert (await register(client, portrait())).status_code == 201
        shutil.copytree(data, copy)
        shutil.rmtree(data)
        data.write_text("nothing is mounted here")
        await is_refused(client)
        data.unlink()
        copy.rename(data)
        assert len((await client.get(URL)).json()["exemplars"]) == 1
        assert (await register(client, portrait())).status_code == 201
        assert len((await client.get(URL)).json()["exemplars"]) == 2
    await closed(world)


async def test_a_clock_that_jumps_a_year_ahead_expires_photos_and_one_that_jumps_back_does_not(tmp_path):
    world = made(tmp_path, exemplar_expires_days=30)
    async with client_of(world) as client:
        assert (await register(client, portrait())).status_code == 201
        world.clock.now -= HOUR
        await world.service.purge()
        assert len((await client.get(URL)).json()["exemplars"]) == 1
        assert (await register(client, portrait())).status_code == 201  # in the hour that comes twice
        await world.service.purge()
        assert len((await client.get(URL)).json()["exemplars"]) == 2
        world.clock.now += 365 * DAY
        assert (await client.get(URL)).json()["exemplars"] == []
        await world.service.purge()
        assert world.files() == []
        assert len(set(world.rooms.forgotten)) == 2  # running calls have dropped them
        world.clock.now -= 365 * DAY  # what has expired does not come back
        assert (await client.get(URL)).json()["exemplars"] == []
        assert (await register(client, portrait())).status_code == 201
    await closed(world)


def test_calls_are_timed_by_a_clock_that_does_not_jump():
    """The wall clock is read only for what outlasts the process, and to tell the time of day."""
    calls = ["server/media", "server/rooms", "server/lifecycle.py", "server/supervision.py", "hime_core"]
    pattern = r"time\.time\b|datetime\.(now|today|utcnow)|date\.today"
    found = subprocess.run(["git", "grep", "-nE", pattern, "--", *calls], capture_output=True, text=True)
    if found.returncode > 1:
        pytest.skip("not a git checkout")
    others = [line for line in found.stdout.splitlines() if "media/ice_servers.py" not in line]
    assert others == []  # TURN credentials name the time of day that they end at
    assert time.get_clock_info("monotonic").adjustable is False
