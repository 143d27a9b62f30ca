"""The cluster's engines as one, with their actors in this process in place of Ray."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hime_core.engine import FaceRequest, Late, Overload
from server.cluster.engine_actor import KEPT, MOST, EngineActor
from server.cluster.link import ClusterAway
from server.cluster.orders import Orders
from server.cluster.parcels import PIECE, count, cut, joined, pack, unpack
from server.cluster.pool import LONGEST, REST, PooledEngine, pooled
from server.cluster.told import FaceRefused
from server.settings import Settings
from tests.unit.test_engine import request

WITHIN = 10


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Inner:
    """Answers at once with its own number all over the face; keeps what it was asked."""

    scale = 4

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked: list[FaceRequest] = []
        self.forgotten: list[str] = []
        self.raises: Exception | None = None
        self.closed = False

    def submit(self, requests: Any) -> list[Future[Any]]:
        futures = []
        for one in requests:
            self.asked.append(one)
            future: Future[Any] = Future()
            if self.raises is not None:
                future.set_exception(self.raises)
            else:
                future.set_result(np.full((one.lr.shape[0] * 4,) * 2 + (3,), self.number, np.uint8))
            futures.append(future)
        return futures

    def forget(self, ids: Any) -> None:
        self.forgotten += ids

    def close(self) -> None:
        self.closed = True


class Cluster:
    """A Link to actors in an event loop of their own. held: those that answer nothing until they are released."""

    def __init__(self, numbers: int, clock: Clock) -> None:
        self.incarnation, self.clock = 1, clock
        self.inner = [Inner(number) for number in range(numbers)]
        self.lost: set[str] = set()
        self.held: dict[str, list[Future[Any]]] = {}
        self.bytes: list[int] = []
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.actors = {f"e{number}": self.actor(number) for number in range(numbers)}

    def actor(self, number: int) -> EngineActor:
        return EngineActor("tiny", "cpu", lambda weights, device: self.inner[number], self.clock)

    def ask(self, actor: str, method: str, *args: Any, returns: int = 1) -> Future[Any]:
        future: Future[Any] = Future()
        if actor in self.lost:
            future.set_exception(ClusterAway("lost"))
            return future
        if method == "enhance":
            self.bytes.append(sum(len(piece) for piece in args[5:]))
        if actor in self.held and method == "enhance":
            self.held[actor].append(future)
            return future
        return asyncio.run_coroutine_threadsafe(self._asked(getattr(self.actors[actor], method)(*args)), self.loop)  # type: ignore[return-value]

    async def _asked(self, asking: Any) -> Any:
        try:
            return await asking
        except FaceRefused as refused:  # as the link tells of it
            raise ClusterAway(str(refused)) from None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(clock: Clock) -> Iterator[Cluster]:
    made = Cluster(2, clock)
    yield made
    made.loop.call_soon_threadsafe(made.loop.stop)


def pool_of(cluster: Cluster, local: Inner | None = None) -> PooledEngine:
    def make_local() -> Inner:
        if local is None:
            raise RuntimeError("there is none")
        return local

    return PooledEngine(cluster, list(cluster.actors), 4, make_local, "node", clock=cluster.clock)


def answer(pool: PooledEngine, face: FaceRequest) -> Any:
    return pool.submit([face])[0].result(WITHIN)


def test_a_face_comes_back_whole_whatever_its_size(cluster: Cluster) -> None:
    pool = pool_of(cluster)
    for side in (16, 32, 96):  # 96 comes back in several pieces
        assert answer(pool, request(side)).shape == (4 * side, 4 * side, 3)
    assert count(4 * 96) > 1


def test_pieces_are_small_enough_for_rays_messages_and_give_the_same(cluster: Cluster) -> None:
    exemplars = request(32, 3).exemplars
    pieces = pack(exemplars)
    assert max(map(len, pieces)) <= PIECE
    found = unpack(pieces)
    assert [one.id for one in found] == [one.id for one in exemplars]
    assert all((a.image == b.image).all() and a.headshot == b.headshot for a, b in zip(found, exemplars, strict=True))
    face = np.random.default_rng(1).integers(0, 256, (384, 384, 3), np.uint8)
    assert len(cut(face)) == count(384) and (joined(cut(face), 384) == face).all()


def test_exemplars_travel_once(cluster: Cluster) -> None:
    pool = pool_of(cluster)
    cluster.lost.add("e1")
    face = request(32, 3)
    for _ in range(4):
        answer(pool, face)
    assert cluster.bytes[0] > 0 and sum(cluster.bytes[1:]) == 0
    assert [one.id for one in cluster.inner[0].asked[-1].exemplars] == [one.id for one in face.exemplars]


def test_an_actor_that_was_started_again_is_given_them_again(cluster: Cluster) -> None:
    pool = pool_of(cluster)
    cluster.lost.add("e1")
    face = request(32, 2)
    answer(pool, face)
    cluster.actors["e0"] = cluster.actor(0)
    assert answer(pool, face)[0, 0, 0] == 0
    assert len(cluster.inner[0].asked[-1].exemplars) == 2


def test_the_engine_is_asked_that_is_expected_to_answer_first(cluster: Cluster) -> None:
    pool = pool_of(cluster)
    for member, seconds in zip(pool._members, (0.045, 0.01), strict=True):
        member.turnaround = seconds
    cluster.held = {"e0": [], "e1": []}
    for _ in range(6):  # with four waiting at the faster one, the other is sooner
        pool.submit([request()])
    assert [len(cluster.held[name]) for name in ("e0", "e1")] == [1, 5]


def test_a_lost_engines_faces_fail_at_once_and_another_takes_over(cluster: Cluster, clock: Clock) -> None:
    pool = pool_of(cluster)
    pool._members[0].turnaround = 0.001
    cluster.held["e0"] = []
    lost = pool.submit([request()])[0]
    cluster.lost.add("e0")
    cluster.held["e0"][0].set_exception(ClusterAway("lost"))
    with pytest.raises(ClusterAway):
        lost.result(WITHIN)
    assert answer(pool, request())[0, 0, 0] == 1
    cluster.lost.clear()
    del cluster.held["e0"]
    clock.now += REST + 0.1
    assert answer(pool, request())[0, 0, 0] == 0  # it is asked again after a rest


def test_where_no_engine_answers_the_own_one_is_loaded(cluster: Cluster) -> None:
    local = Inner(9)
    pool = pool_of(cluster, local)
    cluster.lost.update(cluster.actors)
    for _ in range(2):
        with pytest.raises(ClusterAway):
            answer(pool, request())
    with pytest.raises(Overload):
        answer(pool, request())
    for thread in threading.enumerate():
        if thread.name == "hime-engine-local":
            thread.join(WITHIN)
    assert answer(pool, request())[0, 0, 0] == 9
    pool.close()
    assert local.closed


def test_engines_that_are_silent_are_not_waited_for(cluster: Cluster, clock: Clock) -> None:
    pool = pool_of(cluster, Inner(9))
    cluster.held = {"e0": [], "e1": []}
    for _ in range(4):
        pool.submit([request()])
    clock.now += LONGEST + 0.1
    with pytest.raises(Overload):
        answer(pool, request())
    for thread in threading.enumerate():
        if thread.name == "hime-engine-local":
            thread.join(WITHIN)
    clock.now += REST + 0.1
    assert answer(pool, request())[0, 0, 0] == 9
    for waiting in cluster.held.pop("e0"):  # the first one has found a place
        waiting.set_exception(ClusterAway("Late"))
    clock.now += REST + 0.1
    assert answer(pool, request())[0, 0, 0] == 0
    pool.close()


def test_deadlines_travel_as_seconds_that_are_left(cluster: Cluster, clock: Clock) -> None:
    pool = pool_of(cluster)
    other = Clock()
    other.now = 5.0  # another machine's clock
    for actor in cluster.actors.values():
        actor._clock = other
    answer(pool, replace(request(), deadline=clock.now + 0.25))
    asked = next(one for inner in cluster.inner for one in inner.asked)
    assert math.isclose(asked.deadline, 5.25)
    with pytest.raises(Late):
        answer(pool, replace(request(), deadline=clock.now - 0.1))


@pytest.mark.parametrize("kind", [Late, Overload])
def test_an_engine_that_refuses_for_want_of_time_is_not_taken_to_fail(cluster: Cluster, kind: type[Exception]) -> None:
    pool = pool_of(cluster)
    cluster.lost.add("e1")
    cluster.inner[0].raises = kind("no time")
    with pytest.raises(kind):
        for _ in range(2):  # the first may be e1's
            answer(pool, request())
    assert pool._members[0].rests_until == -math.inf


def test_what_is_forgotten_is_held_by_no_engine_and_is_not_taken_again(cluster: Cluster) -> None:
    pool = pool_of(cluster)
    face = request(32, 2)
    for _ in range(6):
        answer(pool, face)
    ids = [one.id for one in face.exemplars]
    pool.forget(ids)
    for name in cluster.actors:
        assert cluster.ask(name, "held").result(WITHIN) == 0
    assert all(set(ids) <= set(inner.forgotten) for inner in cluster.inner if inner.asked)
    with pytest.raises(Overload):  # a face that was on its way brings them along
        answer(pool, face)
    assert cluster.ask("e0", "held").result(WITHIN) == 0


def test_an_engine_that_never_hears_of_it_drops_what_is_not_used(cluster: Cluster, clock: Clock) -> None:
    pool = pool_of(cluster)
    cluster.lost.add("e1")
    answer(pool, request(32, 2))
    clock.now += KEPT + 1
    assert cluster.ask("e0", "held").result(WITHIN) == 0
    assert set(cluster.inner[0].forgotten) == {"0", "1"}


def test_an_engine_keeps_no_more_than_it_may(cluster: Cluster) -> None:
    pool = pool_of(cluster)
    cluster.lost.add("e1")
    face = request(16, 1)
    for number in range(MOST + 5):
        one = replace(face.exemplars[0], id=f"x{number}")
        answer(pool, replace(face, exemplars=(one,)))
    assert cluster.ask("e0", "held").result(WITHIN) == MOST


@pytest.mark.parametrize(("address", "on"), [("local", "auto"), ("192.0.2.7:6379", "192.0.2.7:6379")])
def test_engines_are_on_the_ray_that_the_node_is_on(monkeypatch: pytest.MonkeyPatch, address: str, on: str) -> None:
    links: list[Orders] = []
    monkeypatch.setattr("server.cluster.pool.Link", lambda orders: links.append(orders) or SimpleNamespace(close=None))
    settings = Settings(cluster_address=address, cluster_engines=1)
    pooled(settings, 4, lambda: Inner(9), lambda seconds: None, lambda: None)
    assert [one.address for one in links] == [on]
