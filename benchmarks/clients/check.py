"""Foreign clients against a relay, each seen from the other side by peers of ours on aiortc."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, Protocol

import httpx

from benchmarks.shared.peers import MovingVideo, Peer, Tone

Way = Literal["publishes", "watches"]

WIDTH, HEIGHT, FPS = 320, 180, 20
ROOM = "clients"
FRAMES = 3 * FPS  # that must have come through
PATIENCE = 60.0  # seconds for them: clients start slowly on a busy machine
AS_SENT = "view=original&layout=native"  # as it was sent, so that numbers can be read


@dataclass
class Seen:
    """What came out at the other end. numbers: of the pictures, by what is drawn into them; sound: packets or frames
    of it, None where the client takes none."""

    numbers: list[int] = field(default_factory=list)
    sound: int | None = 0

    @property
    def enough(self) -> bool:
        return len(self.numbers) >= FRAMES and (self.sound is None or self.sound > 0)


class Client(Protocol):
    """A client that speaks WHIP, WHEP or both. codecs: of video, of those it has on this machine."""

    name: str
    publishes: Sequence[str]
    watches: Sequence[str]

    def missing(self) -> str:
        """What has to be installed before it can be run; empty where nothing has."""

    def version(self) -> str: ...

    async def publish(self, url: str, codec: str, over: asyncio.Event) -> None:
        """Sends numbered pictures, and sound, to a WHIP endpoint until it is over. Raises whatever goes wrong."""

    async def watch(self, url: str, codec: str, seen: Seen, over: asyncio.Event) -> None:
        """Adds what comes from a WHEP endpoint to `seen` until it is over. Raises whatever goes wrong."""


@dataclass(frozen=True)
class Outcome:
    """seconds: from the client's start to enough frames; error: what was wrong, empty where all is well."""

    client: str
    version: str
    way: Way
    codec: str
    frames: int
    sound: int | None
    seconds: float
    error: str


async def check(client: Client, base: str, way: Way, codec: str) -> Outcome:
    """Runs one client against the relay at `base`."""
    run = _publishing if way == "publishes" else _watching
    seen, began, error = Seen(), time.monotonic(), ""
    try:
        await run(client, base, codec, seen)
        error = fault(seen)
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}".strip().splitlines()[0]
    seconds = round(time.monotonic() - began, 1)
    return Outcome(client.name, client.version(), way, codec, len(seen.numbers), seen.sound, seconds, error)


def fault(seen: Seen) -> str:
    """What is wrong with it; empty where nothing is. A damaged or frozen picture shows wrong or equal numbers."""
    if len(seen.numbers) < FRAMES:
        return f"{len(seen.numbers)} pictures came within {PATIENCE:.0f} s, not {FRAMES}"
    if seen.sound == 0:
        return "no sound came"
    steps = [after - before for before, after in pairwise(seen.numbers)]
    if any(step < 0 for step in steps) or sum(0 < step <= FPS for step in steps) < 0.8 * len(steps):
        return f"the pictures are not those that were sent, one after the other: {seen.numbers[:20]}…"
    return ""


async def _publishing(client: Client, base: str, codec: str, seen: Seen) -> None:
    name, over = f"{client.name}-{codec}".lower(), asyncio.Event()
    publishing = asyncio.create_task(client.publish(f"{base}/whip/{ROOM}/{name}", codec, over))
    async with httpx.AsyncClient(base_url=base, timeout=20, trust_env=False) as http:
        peer = Peer(http)

        def enough() -> bool:
            seen.numbers, seen.sound = [shown.number for shown in peer.frames], len(peer.audio)
            return seen.enough

        try:
            await _while_running(publishing, _joined(http, name))
            await peer.watch(f"/whep/{ROOM}/{name}?{AS_SENT}")
            await _while_running(publishing, _until(enough))
        finally:
            await _ended(peer)
            over.set()
            await asyncio.wait_for(publishing, PATIENCE)


async def _watching(client: Client, base: str, codec: str, seen: Seen) -> None:
    name, over = f"seen-by-{client.name}-{codec}".lower(), asyncio.Event()
    async with httpx.AsyncClient(base_url=base, timeout=20, trust_env=False) as http:
        peer = Peer(http)
        try:
            await peer.publish(f"/whip/{ROOM}/{name}", MovingVideo(WIDTH, HEIGHT, FPS), Tone())
            await _joined(http, name)
            url = f"{base}/whep/{ROOM}/{name}?{AS_SENT}"
            watching = asyncio.create_task(client.watch(url, codec, seen, over))
            try:
                await _while_running(watching, _until(lambda: seen.enough))
            finally:
                over.set()
                await asyncio.wait_for(watching, PATIENCE)
        finally:
            await _ended(peer)


async def _ended(peer: Peer) -> None:
    if peer.location:
        await peer.leave()
    await peer.close()


async def _joined(http: httpx.AsyncClient, name: str) -> None:
    """Waits until the relay has a picture of that participant."""
    async with asyncio.timeout(PATIENCE):
        while name not in (await http.get(f"/api/rooms/{ROOM}")).json()["participants"]:
            await asyncio.sleep(0.2)


async def _until(condition: Callable[[], bool]) -> None:
    """Waits for it, in vain if need be: what is short of it is told by fault()."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.1)


async def _while_running(client: asyncio.Task[None], waiting: Coroutine[None, None, None]) -> None:
    """Waits, but not for longer than the client lives. Raises what it died of."""
    task = asyncio.create_task(waiting)
    try:
        await asyncio.wait({client, task}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await client
            raise RuntimeError("the client ended before it was told to")
        await task
    finally:
        task.cancel()
