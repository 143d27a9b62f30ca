"""Each limit of photos is counted where it refuses."""

from __future__ import annotations

import asyncio
import os
import threading

import httpx
import pytest

from server.exemplars.service import MAX_WAITING
from tests.unit.exemplar_world import World, register
from tests.unit.relay_fakes import bomb, portrait


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path / "data", max_photos=2, max_photos_per_person=2)
    yield world
    world.service.close()
    world.store.close()


@pytest.fixture
async def client(world):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://localhost") as client:
        yield client


def counted(world: World) -> dict[str, float]:
    """What was refused, by reason."""
    return {
        sample.labels["reason"]: sample.value
        for metric in world.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "hime_refused_total"
    }


@pytest.mark.parametrize(
    ("photos", "status", "reason"),
    [
        ([portrait()] * 3, 400, "photos"),
        ([os.urandom(10_000_001)], 413, "photo_bytes"),
        ([bomb(10_000)], 413, "photo_pixels"),
        ([bomb(60_000)], 413, "photo_pixels"),  # so many that the reader itself refuses them
    ],
    ids=["photos", "bytes", "pixels", "many more pixels"],
)
async def test_what_is_too_much_is_counted_once(client, world, photos, status, reason):
    assert (await register(client, *photos)).status_code == status
    assert counted(world) == {reason: 1.0}


async def test_bytes_that_come_unannounced_are_counted_as_well(world):
    async def large():
        return bytes(world.settings.max_photo_bytes + 1)

    with pytest.raises(Exception, match="bytes"):
        await world.service.register("ann", [large], None)
    assert counted(world) == {"photo_bytes": 1.0}


async def test_more_photos_than_are_kept_of_a_person_are_counted(client, world):
    assert (await register(client, portrait(), portrait())).status_code == 201
    assert counted(world) == {}
    assert (await register(client, portrait())).status_code == 409
    assert counted(world) == {"photos_per_person": 1.0}


async def test_requests_that_come_while_others_are_examined_are_counted(client, world):
    detect, running = world.detector.detect, threading.Event()
    world.detector.detect = lambda rgb: running.wait(60) and detect(rgb)
    tasks = [asyncio.create_task(register(client, portrait())) for _ in range(MAX_WAITING + 1)]
    while not any(task.done() for task in tasks):
        await asyncio.sleep(0.005)
    running.set()
    await asyncio.gather(*tasks)
    assert counted(world)["photos_waiting"] == 1.0


async def test_what_is_no_photo_is_no_limit(client, world):
    assert (await register(client, b"just a text")).status_code == 415
    assert counted(world) == {}
