"""Two relays that are nodes of one cluster: `hime serve --cluster`, with a Ray head on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from skimage import data

from benchmarks.shared.peers import MovingVideo
from hime_core.exemplars.exemplar import cut_exemplar
from server.client.link import Link
from server.client.nodes import Nodes
from server.client.peer import Connection
from server.client.rejoin import Kept
from server.exemplars.store import PhotoStore
from server.settings import Settings
from tests.media.relay_process import RelayProcess, relay_process
from tests.ray_head import ENVIRONMENT, ray_head
from tests.unit.enhancer_stage import FACE, LANDMARKS

pytest.importorskip("ray")
KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


class Shared:
    """What all nodes are given."""

    def __init__(self, folder: Path, head: str) -> None:
        self.folder = folder
        self.storage = {
            "HIME_DATABASE_URL": f"sqlite:///{folder}/hime.db",
            "HIME_PHOTOS_URL": f"file://{folder}/photos",
            "HIME_DATA_KEY": KEY,
        }
        self.environment = {**ENVIRONMENT, **self.storage, "HIME_CLUSTER": "1", "HIME_CLUSTER_ADDRESS": head}

    @asynccontextmanager
    async def node(self, name: str) -> AsyncIterator[RelayProcess]:
        async with relay_process(self.folder / name, **self.environment) as node:
            yield node

    def keep_photo(self, person: str) -> None:
        """As registration does, which has no detector here."""
        url, photos, key = self.storage.values()
        store = PhotoStore(Settings(data=self.folder, database_url=url, photos_url=photos, data_key=key))
        exemplar = cut_exemplar(data.astronaut(), FACE, LANDMARKS, f"photo-of-{person}", "photo", 0, 0.0)
        store.add(person, [(exemplar, FACE)], time.time() + 3600)
        store.close()


async def until(condition: Any, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


def url(node: RelayProcess) -> str:
    return f"http://localhost:{node.port}"


async def place_of(node: RelayProcess, room: str) -> dict[str, Any]:
    answer = await node.http.get(f"/api/rooms/{room}/node")
    return dict(answer.json())


async def room_of(node: RelayProcess, other: RelayProcess, name: str) -> str:
    """A new room that the node has, asked of the other one."""
    for number in range(20):
        if (await place_of(other, f"{name}{number}"))["node"] == url(node):
            return f"{name}{number}"
    raise AssertionError("no room is given to that node")


async def photos_in_use(node: RelayProcess, room: str) -> set[str]:
    answer = await node.http.get(f"/api/rooms/{room}/ann/bank")
    if answer.status_code != 200:
        return set()
    return {one["id"] for one in answer.json()["exemplars"] if one["source"] == "photo"}


class Call:
    """A publisher with a person's photos, and one who watches, by any node; both join again when they are lost."""

    def __init__(self, node: RelayProcess, room: str) -> None:
        self.frames = 0
        self._link = Link(url(node), room, "ann")
        self._http = httpx.AsyncClient(timeout=10, trust_env=False)
        self._video = MovingVideo()
        self._reading: list[asyncio.Task[None]] = []
        nodes = Nodes(self._http, self._link)
        self._running = [
            asyncio.create_task(Kept(self._http, nodes, self._publish, publishes=True).run()),
            asyncio.create_task(self._begin_to_watch(Kept(self._http, nodes, self._watch, publishes=False))),
        ]

    async def close(self) -> None:
        for task in (*self._running, *self._reading):
            task.cancel()
        await asyncio.gather(*self._running, *self._reading, return_exceptions=True)
        await self._http.aclose()

    async def _publish(self, connection: Connection, link: Link) -> None:
        path = f"/whip/{link.room}/ann"
        await connection.open(path, lambda pc: pc.addTransceiver(self._video, "sendonly"), "person=zoe")

    async def _begin_to_watch(self, kept: Kept) -> None:
        await asyncio.sleep(2)  # the first attempt has to find somebody
        await kept.run()

    async def _watch(self, connection: Connection, link: Link) -> None:
        await connection.watch("ann", "view=original&layout=native", self._take)

    def _take(self, track: MediaStreamTrack) -> None:
        async def read() -> None:
            try:
                while True:
                    await track.recv()
                    self.frames += track.kind == "video"
            except MediaStreamError:
                return

        self._reading.append(asyncio.create_task(read()))

    async def goes_on(self) -> bool:
        before = self.frames
        await asyncio.sleep(0.2)
        return self.frames > before


def kill_whole(node: RelayProcess) -> None:
    """With the process that speaks to Ray, so that nobody says goodbye."""
    tasks = Path(f"/proc/{node.process.pid}/task").iterdir()
    for pid in {int(pid) for task in tasks for pid in (task / "children").read_text().split()}:
        os.kill(pid, signal.SIGKILL)
    node.send(signal.SIGKILL)


@pytest.mark.timeout(180)
async def test_two_nodes_are_one_relay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with AsyncExitStack() as stack:
        head = await asyncio.to_thread(lambda: stack.enter_context(ray_head()))
        shared = Shared(tmp_path, head)
        await asyncio.to_thread(shared.keep_photo, "zoe")
        one, two = await asyncio.gather(
            stack.enter_async_context(shared.node("one")), stack.enter_async_context(shared.node("two"))
        )

        async def both_known() -> bool:
            return all([len((await place_of(node, "any"))["nodes"]) == 2 for node in (one, two)])

        await until(both_known)

        # Any node's HTTP leads to the node that has the room.
        room = await room_of(one, two, "den")
        headers = {"Content-Type": "application/sdp"}
        answer = await two.http.post(f"/whip/{room}/ann?person=zoe", content="v=0", headers=headers)
        assert answer.status_code == 307
        assert answer.headers["location"] == f"{url(one)}/whip/{room}/ann?person=zoe"
        assert (await two.http.get(f"/api/rooms/{room}")).headers["location"] == f"{url(one)}/api/rooms/{room}"
        assert (await two.http.post("/whip/a.b/ann", content="v=0", headers=headers)).status_code == 400

        # A page of one node may talk to another, and no other site's.
        ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        allowed = await one.http.options(f"/whip/{room}/ann", headers={"Origin": url(two), **ask})
        refused = await one.http.options(f"/whip/{room}/ann", headers={"Origin": "https://evil.example", **ask})
        assert allowed.headers["access-control-allow-origin"] == url(two)
        assert "access-control-allow-origin" not in refused.headers

        # A call by way of the wrong node.
        call = Call(two, room)
        stack.push_async_callback(call.close)
        await until(call.goes_on)
        assert await photos_in_use(one, room) == {"photo-of-zoe"}

        # The node is lost: the call is back at the other, with its photo.
        kill_whole(one)
        began = time.monotonic()

        async def back_with_photo() -> bool:
            return await photos_in_use(two, room) == {"photo-of-zoe"}

        await until(back_with_photo)
        published = time.monotonic() - began
        await until(call.goes_on)
        with capsys.disabled():
            print(f"\nlost node: published again after {published:.1f} s, seen after {time.monotonic() - began:.1f} s")

        # Deletion reaches both nodes, and is answered when it has.
        third = await stack.enter_async_context(shared.node("three"))
        await until(lambda: _knows(two, 2))
        other = Call(two, await room_of(third, two, "attic"))
        stack.push_async_callback(other.close)
        await until(other.goes_on)
        other_room = other._link.room
        assert await photos_in_use(third, other_room) == {"photo-of-zoe"}
        answer = await two.http.delete("/api/people/zoe")
        assert answer.status_code == 204
        assert await photos_in_use(two, room) == await photos_in_use(third, other_room) == set()


async def _knows(node: RelayProcess, nodes: int) -> bool:
    return len((await place_of(node, "any"))["nodes"]) == nodes
