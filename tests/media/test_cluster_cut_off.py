"""Nodes that cannot reach each other for a while, though whoever is in their calls can reach them."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from benchmarks.shared.peers import MovingVideo
from tests.media.cluster_world import Call, Shared, knows, photos_in_use, place_of, room_of, until, url
from tests.media.relay_process import RelayProcess, children
from tests.ray_head import ray_head

pytest.importorskip("ray")


async def participants(node: RelayProcess, room: str) -> set[str]:
    answer = await node.http.get(f"/api/rooms/{room}")
    return set(answer.json()["participants"]) if answer.status_code == 200 else set()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_room_that_two_nodes_have_comes_together_again(tmp_path: Path, workers: str) -> None:
    async with AsyncExitStack() as stack:
        head = await asyncio.to_thread(lambda: stack.enter_context(ray_head()))
        shared = Shared(tmp_path, head)
        one, two = await asyncio.gather(
            stack.enter_async_context(shared.node("one", HIME_WORKERS=workers)),
            stack.enter_async_context(shared.node("two")),
        )
        await until(lambda: knows(two, 2))
        room = await room_of(one, two, "den")
        call = Call(one, room)
        stack.push_async_callback(call.close)
        await until(call.goes_on)
        listening = await stack.enter_async_context(one.events(room))

        # What speaks to Ray stands still: to the others the node is lost, and the room free.
        (link,) = children(one.process.pid, "server.cluster.agent")
        os.kill(link, signal.SIGSTOP)
        await until(lambda: knows(two, 1))
        await two.peer().publish(f"/whip/{room}/bob", MovingVideo())
        assert (await place_of(two, room))["node"] == url(two)
        assert await call.goes_on()

        # It hears of that, gives the room up, and the call is back at the other.
        os.kill(link, signal.SIGCONT)

        async def together() -> bool:
            return await participants(two, room) == {"ann", "bob"}

        await until(together)
        await until(call.goes_on)
        assert ("end", {}) in listening
        assert (await place_of(one, room))["node"] == url(two)
        assert await one.count('hime_failures_total{part="room"}') == 1
        assert await two.count('hime_failures_total{part="room"}') == 0


@pytest.mark.timeout(240)
async def test_calls_outlive_rays_head_and_nodes_find_together_again(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first = stack.enter_context(ExitStack())
        head = await asyncio.to_thread(lambda: first.enter_context(ray_head()))
        shared = Shared(tmp_path, head)
        await asyncio.to_thread(shared.keep_photo, "zoe")
        one, two = await asyncio.gather(
            stack.enter_async_context(shared.node("one")), stack.enter_async_context(shared.node("two"))
        )
        await until(lambda: knows(two, 2))
        room = await room_of(one, two, "den")
        call = Call(two, room)
        stack.push_async_callback(call.close)
        await until(call.goes_on)
        assert await photos_in_use(one, room) == {"photo-of-zoe"}

        await asyncio.to_thread(first.close)

        async def away() -> bool:
            return all([await node.count('hime_failures_total{part="cluster"}') > 0 for node in (one, two)])

        await until(away)
        sessions = call.sessions
        assert await call.goes_on()
        assert (await place_of(two, room))["node"] == url(one)  # what was known goes on to count
        assert (await two.http.delete("/api/people/zoe")).status_code == 503  # the other has not heard of it

        await asyncio.to_thread(lambda: stack.enter_context(ray_head(port=int(head.rpartition(":")[2]))))

        async def together() -> bool:
            await asyncio.sleep(0.5)
            return (await two.http.delete("/api/people/zoe")).status_code == 204

        await until(together, 120)
        assert await photos_in_use(one, room) == set()
        assert await knows(one, 2) and await knows(two, 2)
        assert await call.goes_on() and call.sessions == sessions
