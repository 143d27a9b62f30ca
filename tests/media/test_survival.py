"""Calls that go on: through a camera that stops, a network that is cut, and a publisher who comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from benchmarks.shared.peers import MovingVideo, Tone, serving, until
from tests.media.test_rooms import named


class Pausing:
    """A track that gives nothing while it is paused, as a phone's in a pocket."""

    paused = False

    async def recv(self) -> Any:
        while self.paused:
            await asyncio.sleep(0.05)
        return await super().recv()  # type: ignore[misc]


class PausingVideo(Pausing, MovingVideo): ...


class PausingTone(Pausing, Tone): ...


async def test_a_publisher_who_sends_nothing_but_answers_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 60)

    async def say_nothing(packet: object) -> None: ...

    async with serving(media_timeout_s=1.5) as relay, relay.events() as events:
        video, tone = PausingVideo(), PausingTone()
        publisher = await relay.peer().publish("/whip/r/ann", video, tone)
        alone = PausingTone()
        await relay.peer().publish("/whip/r/bob", alone)
        watcher = await relay.peer().watch("/whep/r/ann?layout=native")
        await until(lambda: len(watcher.frames) > 5 and named(events, "joined", "bob"))
        for sender in [sender for peer in relay.peers[:2] for sender in peer.pc.getSenders()]:
            sender._send_rtcp = say_nothing
        video.paused = tone.paused = alone.paused = True
        await asyncio.sleep(5)
        assert {name: one["state"] for name, one in (await relay.stats()).items()} == {
            "ann": "stalled",
            "bob": "stalled",
        }
        shown = len(watcher.frames)
        video.paused = tone.paused = alone.paused = False
        await until(lambda: len(watcher.frames) > shown + 20)
        stats = await relay.stats()
        assert {name: one["state"] for name, one in stats.items()} == {"ann": "live", "bob": "live"}
        assert not named(events, "left", "ann") and not named(events, "left", "bob") and not watcher.ended
        video.paused = tone.paused = True
        publisher.cut()
        await until(lambda: not relay.rooms.get("r").participants.get("ann"), 5, "the end of one who is gone")
