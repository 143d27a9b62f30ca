"""A camera that hands over to a screen: the relay tells so, and passes the screen on untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.shared.peers import Peer, until
from benchmarks.shared.portrait import Portrait
from tests.media.test_enhanced_call import FAR, relay_of


async def stats(http: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await http.get("/api/rooms/r")).json()["participants"].get("ann", {})
    return found


@pytest.mark.timeout(120)
async def test_a_screen_is_passed_on_untouched(tmp_path: Path) -> None:
    """Though it shows the very face that the camera's picture is enhanced for."""
    async with relay_of(tmp_path, deadline_ms=300) as (relay, http):
        camera, screen, watcher = Peer(http), Peer(http), Peer(http)
        await camera.publish("/whip/r/ann", Portrait(FAR, frames=1))
        await until(lambda: (room := relay.rooms.get("r")) and room.participants["ann"].joined, 30)
        await watcher.watch("/whep/r/ann?view=enhanced", ("video",))
        participant = relay.rooms.get("r").participants["ann"]
        await until(lambda: participant.stats()["outcomes"]["enhanced"] > 5, 60, "enhanced frames of the camera")
        told = await stats(http)
        assert told["face"]["reason"] is None and "content" not in told

        await screen.publish("/whip/r/ann?content=screen", Portrait(FAR, frames=1))
        await until(lambda: relay.rooms.get("r").participants["ann"] is not participant, 30, "the screen takes over")
        shown = len(watcher.frames)
        await until(lambda: len(watcher.frames) > shown + 30, 30, "the watcher sees the screen by the same session")
        told = await stats(http)
        assert told["content"] == "screen" and "face" not in told
        assert told["outcomes"]["passed"] > 20 and told["outcomes"]["enhanced"] == told["outcomes"]["carried"] == 0
        answer = await http.post("/whip/r/ann?content=slides", content="", headers={"Content-Type": "application/sdp"})
        assert answer.status_code == 400 and "content" in answer.json()["detail"]
        for peer in (camera, screen, watcher):
            await peer.close()
