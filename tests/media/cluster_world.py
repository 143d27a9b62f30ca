"""Nodes of one cluster, and calls that join again when theirs is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
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
from tests.ray_head import ENVIRONMENT
from tests.unit.enhancer_stage import FACE, LANDMARKS

KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


class Shared:
    """What all nodes are given: photos lie in a folder, unless another database and store are named."""

    def __init__(self, folder: Path, head: str, database: str = "", photos: str = "") -> None:
        self.folder = folder
        self.storage = {
            "HIME_DATABASE_URL": database or f"sqlite:///{folder}/hime.db",
            "HIME_PHOTOS_URL": photos or f"file://{folder}/photos",
            "HIME_DATA_KEY": KEY,
        }
        self.environment = {**ENVIRONMENT, **self.storage, "HIME_CLUSTER": "1", "HIME_CLUSTER_ADDRESS": head}

    @asynccontextmanager
    async def node(self, name: str, **environment: str) -> AsyncIterator[RelayProcess]:
        async with relay_process(self.folder / name, **self.environment | environment) as node:
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


async def knows(node: RelayProcess, nodes: int) -> bool:
    return len((await place_of(node, "any"))["nodes"]) == nodes


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
        publisher = Kept(self._http, nodes, self._publish, publishes=True)
        watcher = Kept(self._http, nodes, self._watch, publishes=False)
        self._kept = [publisher, watcher]
        self._running = [asyncio.create_task(publisher.run()), asyncio.create_task(self._begin_to_watch(watcher))]

    @property
    def sessions(self) -> int:
        """How many there have been, of both."""
        return sum(kept.sessions for kept in self._kept)

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
