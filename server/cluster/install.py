"""Makes an application one node of several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hime_core.errors import InputError
from server.cluster.link import Link
from server.cluster.node import Carried, Node, Origins
from server.cluster.orders import Orders
from server.settings import Settings
from server.supervision import off_the_loop, supervised

if TYPE_CHECKING:
    from fastapi import FastAPI

CLOSE_SECONDS = 10.0
JOINED_WITHIN = 15.0  # seconds

Make = Callable[[Node], "FastAPI"]


def clustered(settings: Settings, url: str, make: Make, carried: Callable[[Any], Carried]) -> FastAPI:
    """The application that `make` makes, as a node. url: where browsers reach it; carried: of what the application has
    as `state.relay`. Raises InputError where Ray is not installed."""
    if find_spec("ray") is None:
        raise InputError("--cluster needs Ray, which is not installed: pip install 'hime-relay[cluster]'")
    failed: list[Callable[[str], None]] = []

    def count(part: str) -> None:
        for each in failed:
            each(part)

    link = Link(Orders.of(settings), lambda: count("cluster"))
    node = Node(url, link, Origins((url, *settings.cors_origins)), count)
    app = make(node)
    around = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(off_the_loop, link.close, CLOSE_SECONDS, "close-cluster")
            state = await stack.enter_async_context(around(app))
            relay = app.state.relay
            failed.append(relay.metrics.failure)
            node.carry(carried(relay))
            for name, work in (("cluster", node.beat_forever), ("changes", node.change_forever)):
                task = asyncio.create_task(supervised(name, work, relay.metrics.failure), name=name)
                stack.push_async_callback(_cancelled, task)
            await _joined(node)
            yield state

    app.router.lifespan_context = lifespan
    return app


async def _joined(node: Node) -> None:
    """A node that serves before it knows the others takes rooms that are theirs; one that cannot join serves alone."""
    with suppress(TimeoutError):
        async with asyncio.timeout(JOINED_WITHIN):
            while node.away:
                await asyncio.sleep(0.05)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
