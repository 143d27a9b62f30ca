"""`hime join --rejoin` through the death of its relay."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from hime_core.errors import InputError
from server.client.join import JoinOptions, _join, join
from server.client.link import parse_link
from server.demo.command import CLIP
from tests.media.relay_process import RelayProcess, relay_process


async def sends(relay: RelayProcess) -> bool:
    try:
        there = (await relay.http.get("/api/rooms/r")).json()["participants"]
    except httpx.HTTPError:
        return False
    return "ann" in there and there["ann"]["fps_in"] > 0


async def until_it_sends(relay: RelayProcess) -> None:
    async with asyncio.timeout(40):
        while not await sends(relay):
            await asyncio.sleep(0.1)


async def test_it_joins_again_when_its_relay_is_there_again(tmp_path: Path) -> None:
    async with relay_process(tmp_path) as relay:
        link = parse_link(f"http://localhost:{relay.port}", "r", "ann")
        joining = asyncio.create_task(_join(JoinOptions(link, CLIP, watch="ann", loop=True, rejoin=True)))
        await until_it_sends(relay)
        relay.send(signal.SIGKILL)
        await relay.exit_code()
        async with relay_process(tmp_path, relay.port) as again:
            await until_it_sends(again)
            assert not joining.done()
            joining.cancel()
            await asyncio.gather(joining, return_exceptions=True)


async def test_a_relay_that_was_never_there_is_said_at_once() -> None:
    with pytest.raises(InputError, match="does not answer"):
        await _join(JoinOptions(parse_link("http://127.0.0.1:1", "r", "ann"), CLIP, rejoin=True))


def test_a_recording_ends_with_its_session(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave --rejoin out"):
        join(JoinOptions(parse_link("http://localhost:1", "r", "ann"), record=tmp_path / "a.mp4", rejoin=True))
