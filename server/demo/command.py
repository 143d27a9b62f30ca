"""The body of `hime demo`."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx

from hime_core.errors import InputError
from server.child import RelayFailed, RelayProcess
from server.client.clip import Clip
from server.client.link import Link
from server.client.peer import CONNECTED_WITHIN, Connection

CLIP = Path(__file__).parent / "walk.mp4"  # made by benchmarks/demo_clip.py
ROOM, NAME = "demo", "astronaut"
POLL = 0.2  # seconds between looks at whether all still runs


def demo(clip: Path | None, port: int, weights: str) -> None:
    """Until a signal comes. Raises InputError, also where the relay or the connection ends by itself."""
    path = clip or CLIP
    Clip(path).close()  # before the relay is waited for
    print("Starting the relay…", flush=True)
    try:
        with RelayProcess({"HIME_WEIGHTS": weights}, port) as relay:
            asyncio.run(_shown(relay, path, NAME if clip is None else "clip"))
    except RelayFailed as error:
        raise InputError(str(error)) from None
    except TimeoutError:
        raise InputError(f"the relay did not take the clip within {CONNECTED_WITHIN:.0f} s: is UDP blocked?") from None


def watch_link(url: str) -> str:
    """The page with the room's pictures, original beside enhanced, for one who sends none."""
    return f"{url}/?room={ROOM}&watch=1&view=compare"


async def _shown(relay: RelayProcess, path: Path, name: str) -> None:
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=relay.url, timeout=20, trust_env=False))
        clip = Clip(path, loop=True)
        stack.push_async_callback(asyncio.to_thread, clip.close)
        connection = Connection(http, Link(relay.url, ROOM, name), servers=())
        stack.push_async_callback(connection.close)
        await connection.publish(clip.tracks)
        print(f"Watch it, without a camera: {watch_link(relay.url)}\nCtrl-C ends it.", flush=True)
        while not over.is_set():
            if not relay.running:
                raise InputError(f"the relay has ended: {relay.last_words}")
            if connection.ended.is_set():
                raise InputError("the relay has ended the clip's connection")
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), POLL)
