"""A room that turns out to be another node's."""

from __future__ import annotations

import asyncio

from benchmarks.shared.peers import MovingVideo, serving, until


async def test_all_that_goes_on_in_it_ends_so_that_it_comes_together_elsewhere() -> None:
    async with serving() as relay:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo())
        other = await relay.peer().publish("/whip/other/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann", ("video",))
        await until(lambda: len(watcher.frames) > 5)
        over = asyncio.Event()
        listening = relay.rooms.listen("r")

        async def listen() -> None:
            async for _ in listening:
                pass
            over.set()

        task = asyncio.create_task(listen())
        assert relay.rooms.give_up("r") and not relay.rooms.give_up("r")
        await asyncio.wait_for(over.wait(), 10)
        await until(lambda: publisher.pc.connectionState == watcher.pc.connectionState == "closed")
        assert relay.rooms.get("r") is None
        assert other.pc.connectionState == "connected"
        task.cancel()
