"""Two relays that are nodes of one cluster: `hime serve --cluster`, with a Ray head on loopback."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.media.cluster_world import Call, Shared, kill_whole, knows, photos_in_use, place_of, room_of, until, url
from tests.postgresql import Cluster
from tests.ray_head import ray_head

pytest.importorskip("ray")


@pytest.mark.timeout(180)
async def test_two_nodes_are_one_relay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], postgresql: Cluster, bucket: tuple[Any, str]
) -> None:
    async with AsyncExitStack() as stack:
        head = await asyncio.to_thread(lambda: stack.enter_context(ray_head()))
        files, name = bucket
        shared = Shared(tmp_path, head, postgresql.new_database(), f"s3://{name}/photos")
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
        await until(lambda: knows(two, 2))
        other = Call(two, await room_of(third, two, "attic"))
        stack.push_async_callback(other.close)
        await until(other.goes_on)
        other_room = other._link.room
        assert await photos_in_use(third, other_room) == {"photo-of-zoe"}
        answer = await two.http.delete("/api/people/zoe")
        assert answer.status_code == 204
        assert await photos_in_use(two, room) == await photos_in_use(third, other_room) == set()
        files.invalidate_cache()
        assert await asyncio.to_thread(files.find, name) == []
