"""A relay as one node of several, with a directory beside it in place of Ray."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import pytest

from server.cluster.directory import Directory
from server.cluster.link import ClusterAway
from server.cluster.node import MOST_CHANGES, Node, Origins
from server.cluster.told import Change
from server.problems import Problem


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Link:
    """Asks a directory in this process; none answers while `away`."""

    incarnation = 1

    def __init__(self, directory: Directory) -> None:
        self.directory, self.away = directory, False
        self.last: tuple[Any, ...] = ()

    @property
    def there(self) -> bool:
        return not self.away

    def ask(self, actor: str, method: str, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.away:
            future.set_exception(ClusterAway("not joined"))
        else:
            future.set_result(getattr(self.directory, method)(*args))
        return future

    def ask_last(self, *asked: Any) -> None:
        self.last = asked


class Relay:
    """What a node carries."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.did: list[Any] = []
        self.fails = False

    def rooms(self) -> frozenset[str]:
        return frozenset(self.there)

    def free(self) -> int:
        return 8

    async def change(self, change: Change) -> None:
        if self.fails:
            raise RuntimeError
        self.did.append(change)

    async def compare_with_storage(self) -> None:
        self.did.append("compared")

    def give_up(self, room: str) -> None:
        self.there.discard(room)
        self.did.append(("given up", room))


class World:
    def __init__(self) -> None:
        self.clock, self.counted = Clock(), list[str]()
        self.directory = Directory(self.clock)
        self.clock.now += 10
        self.nodes = [self.node("http://a"), self.node("http://b")]
        self.a, self.b = self.nodes

    def node(self, url: str) -> Node:
        node = Node(url, Link(self.directory), Origins(["https://balancer"]), self.counted.append)
        node.carry(Relay())
        return node

    async def beat(self) -> None:
        for node in self.nodes:
            await node.beat()


def relay(node: Node) -> Relay:
    carried = node._carried
    assert isinstance(carried, Relay)
    return carried


def link(node: Node) -> Link:
    made = node._link
    assert isinstance(made, Link)
    return made


@pytest.fixture
async def world() -> World:
    made = World()
    await made.beat()
    await made.beat()
    return made


async def test_a_room_of_another_node_is_answered_from_what_is_known(world: World) -> None:
    relay(world.b).there.add("den")
    await world.b.beat()
    await world.a.beat()
    link(world.a).away = True  # nothing is asked
    assert await world.a.owner("den", claim=True) == "http://b"
    assert await world.b.owner("den", claim=True) is None


async def test_a_new_room_is_placed_once_and_looking_places_none(world: World) -> None:
    assert await world.a.owner("den", claim=False) is None
    assert world.directory.place("den", world.b.id) == world.b.id  # so it was nobody's
    assert await world.a.owner("den", claim=True) == "http://b"
    assert await world.a.owner("den", claim=False) == "http://b"  # before the next beat


async def test_while_ray_is_away_a_node_serves_its_rooms_and_takes_new_ones(world: World) -> None:
    relay(world.a).there.add("mine")
    relay(world.b).there.add("theirs")
    await world.beat()
    await world.beat()
    link(world.a).away = True
    await world.a.beat()
    await world.a.beat()
    assert world.counted == ["cluster"]  # once, for it is one failure
    assert await world.a.owner("mine", claim=True) is None
    assert await world.a.owner("new", claim=True) is None
    assert await world.a.owner("theirs", claim=True) == "http://b"


async def test_what_a_node_has_itself_counts_before_what_the_directory_says(world: World) -> None:
    relay(world.b).there.add("den")
    await world.beat()
    await world.beat()
    relay(world.a).there.add("den")
    assert await world.a.owner("den", claim=True) is None
    await world.a.beat()  # it learns that another has the room, and gives it up
    assert ("given up", "den") in relay(world.a).did
    assert await world.a.owner("den", claim=True) == "http://b"


async def test_a_deletion_is_answered_when_all_nodes_have_done_it(world: World) -> None:
    deleting = asyncio.create_task(world.a.forget("zoe", ["1"]))
    await asyncio.sleep(0.05)
    assert not deleting.done()
    working = asyncio.create_task(world.b.change_forever())
    await world.b.beat()
    await asyncio.sleep(0.05)
    await world.b.beat()
    await deleting
    assert relay(world.b).did == ["compared", Change("forgotten", "zoe", ("1",))]
    assert relay(world.a).did == []  # who deletes has done it
    working.cancel()


async def test_a_deletion_that_another_node_cannot_do_is_refused_and_found_in_storage_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.cluster.node.CONFIRMED_WITHIN", 0.3)
    relay(world.b).fails = True
    working = asyncio.create_task(world.b.change_forever())
    deleting = asyncio.create_task(world.a.forget("zoe", ["1"]))
    await asyncio.sleep(0.05)
    await world.b.beat()
    with pytest.raises(RuntimeError):
        await working
    later = world.directory.announce(world.a.id, Change("added", "ben", ("2",)))
    await world.b.beat()
    assert not world.directory.carried_out(world.a.id, *later)
    with pytest.raises(Problem) as refused:
        await deleting
    assert refused.value.status_code == 503 and refused.value.kind == "photos-unavailable"
    working = asyncio.create_task(world.b.change_forever())
    await asyncio.sleep(0.05)
    assert relay(world.b).did == ["compared", "compared"]  # what comes later waits
    relay(world.b).fails = False
    await asyncio.gather(working, return_exceptions=True)
    working = asyncio.create_task(world.b.change_forever())
    await asyncio.sleep(0.05)
    await world.b.beat()
    assert world.directory.carried_out(world.a.id, *later)
    working.cancel()


async def test_without_ray_a_deletion_is_not_said_to_have_reached_all(world: World) -> None:
    link(world.a).away = True
    with pytest.raises(Problem):
        await world.a.forget("zoe", [])
    await world.a.added("zoe", ["1"])  # who does not hear of it uses them from the next stream on


async def test_only_nodes_and_what_is_set_are_allowed_origins(world: World) -> None:
    assert list(world.a.origins) == ["https://balancer", "http://b"]
    assert "http://b" in world.a.origins and "http://evil" not in world.a.origins and "*" not in world.a.origins


async def test_more_changes_than_wait_are_one_look_at_storage(world: World) -> None:
    working = asyncio.create_task(world.b.change_forever())
    await asyncio.sleep(0)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    for number in range(3 * MOST_CHANGES):
        last = world.directory.announce(world.a.id, Change("added", "zoe", (str(number),)))
        if number % 10 == 0:
            await world.b.beat()
            assert world.b._changes.qsize() <= MOST_CHANGES
    await world.b.beat()
    relay(world.b).did.clear()
    working = asyncio.create_task(world.b.change_forever())
    await asyncio.sleep(0.05)
    await world.b.beat()
    assert world.directory.carried_out(world.a.id, *last)
    assert "compared" in relay(world.b).did and len(relay(world.b).did) <= MOST_CHANGES
    working.cancel()
