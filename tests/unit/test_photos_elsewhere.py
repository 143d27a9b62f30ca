"""Photos that other processes' calls use, too: they hear of what is registered, deleted and expired."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from server.exemplars.store import DAY
from server.problems import Problem
from tests.unit.exemplar_world import URL, World, register
from tests.unit.relay_fakes import portrait


class Others:
    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.answers = True

    async def added(self, person, ids):
        self.told.append(("added", person, *ids))

    async def forget(self, person, ids):
        self.told.append(("forget", person, *ids))
        if not self.answers:
            raise Problem(503, "A part of the relay does not answer.")


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    world.others = world.service._elsewhere = Others()
    transport = httpx.ASGITransport(world.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as world.client:
        yield world
    world.service.close()


async def registered(world) -> str:
    answer = await register(world.client, portrait())
    assert answer.status_code == 201
    return answer.json()["exemplars"][0]["id"]


async def test_the_others_hear_of_all_that_changes(world):
    first = await registered(world)
    await world.client.delete(f"{URL}/{first}")
    second = await registered(world)
    await world.client.delete("/api/people/ann")
    assert world.others.told == [
        ("added", "ann", first),
        ("forget", None, first),
        ("added", "ann", second),
        ("forget", "ann", second),
    ]


async def test_what_expires_is_told(world):
    id = await registered(world)
    world.clock.now += 400 * DAY
    await world.service.purge()
    await world.service.purge()
    assert world.others.told[1:] == [("forget", None, id)]


async def test_a_deletion_that_one_of_them_does_not_confirm_is_no_success(world):
    await registered(world)
    world.others.answers = False
    assert (await world.client.delete("/api/people/ann")).status_code == 503
    world.others.answers = True
    assert (await world.client.delete("/api/people/ann")).status_code == 204
    assert [told[0] for told in world.others.told] == ["added", "forget", "forget"]


async def test_what_others_have_registered_and_deleted_reaches_the_calls_here(world):
    people, id = world.rooms.people, await registered(world)
    people.forget([id])
    await world.service.use("ann", ["another", id])
    assert [one.id for one in people.exemplars()] == [id]
    await world.service.forget_here(None, [id])
    assert not people.exemplars() and id in world.engine.forgotten


async def test_what_was_deleted_elsewhere_while_nobody_could_tell_is_found_in_storage(world):
    people, first, second = world.rooms.people, await registered(world), await registered(world)
    await world.service.compare_with_storage()
    assert {one.id for one in people.exemplars()} == {first, second} and not world.rooms.forgotten
    world.store.remove("ann", first)
    await world.service.compare_with_storage()
    assert [one.id for one in people.exemplars()] == [second] and people.names() == {"ann"}
    world.store.remove("ann")
    await world.service.compare_with_storage()
    assert not people.exemplars() and people.names() == set()
    assert {first, second} <= set(world.engine.forgotten)


async def test_two_that_delete_at_once_do_not_wait_for_each_other(world, tmp_path):
    """As nodes do, each of which changes photos itself."""
    other = World(tmp_path)

    class Other(Others):
        def __init__(self, service):
            super().__init__()
            self.service = service

        async def forget(self, person, ids):
            await self.service.forget_here(person, ids)

    await registered(world)
    world.service._elsewhere, other.service._elsewhere = Other(other.service), Other(world.service)
    both = (world.service.forget_person("ann"), other.service.forget_person("ann"))
    await asyncio.wait_for(asyncio.gather(*both), 20)
    other.service.close()
