"""Photos of two people are not registered under one name."""

import asyncio

import httpx
import pytest
from skimage.data import astronaut

from tests.unit.enhancer_stage import ByColour
from tests.unit.exemplar_world import World, register
from tests.unit.relay_fakes import encoded, plain, portrait

BOB = encoded(astronaut()[..., ::-1], quality=95)  # whom the recogniser takes for another person


@pytest.fixture
async def recognising(tmp_path):
    world = World(tmp_path / "data", ByColour())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://localhost") as client:
        yield world, client
    world.service.close()
    world.store.close()


async def test_photos_of_two_people_are_refused_whole_naming_them(recognising):
    world, client = recognising
    answer = await register(client, plain(), portrait(), BOB, portrait("PNG"))
    assert answer.status_code == 422
    assert "photos 2, 4 and photo 3 differ" in answer.json()["detail"]
    assert world.files() == [] and world.rooms.people.exemplars() == []
    assert (await register(client, portrait(), portrait("PNG"))).status_code == 201


async def test_a_photo_of_somebody_else_than_the_kept_ones_is_refused(recognising):
    world, client = recognising
    await register(client, portrait(), portrait())
    answer = await register(client, BOB, portrait())
    other, own = answer.json()["exemplars"]
    assert answer.status_code == 201 and own["accepted"] and not other["accepted"]
    assert "another person's than in the 2 photos kept under this name" in other["reason"]
    assert other["box"] is None and other["sharpness"] is None
    answer = await register(client, BOB)
    assert answer.status_code == 422 and answer.json()["exemplars"][0]["reason"] == other["reason"].replace("2", "3")
    assert len(world.files()) == len(world.rooms.people.exemplars()) == 3
    assert (await register(client, BOB, person="bob")).status_code == 201


async def test_of_two_requests_at_once_the_second_is_compared_with_the_first(recognising):
    world, client = recognising
    answers = await asyncio.gather(register(client, portrait()), register(client, BOB))
    assert sorted(answer.status_code for answer in answers) == [201, 422]
    assert len(world.files()) == 1


async def test_without_a_recogniser_photos_are_taken_as_they_come(recognising):
    world, client = recognising
    world.service._recogniser = None
    assert (await register(client, portrait(), BOB)).status_code == 201


async def test_with_a_recogniser_that_fails_photos_are_taken_as_they_come(recognising, caplog):
    world, client = recognising

    def fail(faces):
        raise RuntimeError("on purpose")

    world.service._recogniser.embed = fail
    assert (await register(client, portrait(), BOB)).status_code == 201
    assert len(world.files()) == 2 and "without being compared" in caplog.text
