"""Calls that go on: through a camera that stops, a network that is cut, and a publisher who comes back."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import httpx
import pytest

from benchmarks.shared.peers import MovingVideo, Peer, Relay, Tone, serving, until
from tests.media.test_rooms import Events, named

FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


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


def risen(watcher: Peer, since: int = 0) -> bool:
    """Whether the timestamps of the frames from that one on only rise."""
    return all(after.pts > before.pts for before, after in pairwise(watcher.frames[since:]))


def first_of(watcher: Peer, size: tuple[int, int]) -> int:
    """The number of the first frame of that size. aiortc shows the last one before a pause only after it."""
    return next(number for number, frame in enumerate(watcher.frames) if frame.size == size)


async def lose(relay: Relay, events: Events, *peers: Peer) -> None:
    for peer in peers:
        peer.cut()
    await until(lambda: named(events, "reconnecting", "ann"), what="the loss to be noticed")


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
async def test_watchers_go_on_when_a_lost_publisher_comes_back(codec: str) -> None:
    async with serving(media_timeout_s=1.5) as relay, relay.events() as events:
        first = await relay.peer().publish("/whip/r/ann", MovingVideo(320, 180), Tone())
        watcher = await relay.peer().watch("/whep/r/ann?layout=native", codec=codec)
        small = await relay.peer().watch("/whep/r/ann?view=original&layout=native", ("video",))
        await until(lambda: len(watcher.frames) > 10 and len(small.frames) > 10 and len(watcher.audio) > 20)
        people = relay.rooms.get("r").participants["ann"].people
        people.newcomer(people.next_sighting())
        await lose(relay, events, first)
        body = (await relay.http.get("/api/rooms/r")).json()
        assert (body["participants"], body["reconnecting"]) == ({}, ["ann"])
        assert relay.rooms.limits.admission.watchers.taken == 2
        await until(lambda: relay.enhancers[0].closed)
        await asyncio.sleep(2)
        seen, heard, keyframes = len(watcher.frames), len(watcher.audio), relay.total("hime_keyframes_total")
        assert not watcher.ended and watcher.pc.connectionState == "connected"
        assert (await relay.http.patch(first.location, content="", headers=FRAGMENT)).status_code == 404

        await relay.peer().publish("/whip/r/ann", MovingVideo(240, 136), Tone())
        await until(lambda: len(watcher.frames) > seen + 20 and len(watcher.audio) > heard + 50)
        await until(lambda: small.frames[-1].size == (240, 136))
        last, again = watcher.frames[seen - 1], watcher.frames[first_of(watcher, (240, 136))]
        assert risen(watcher) and risen(small) and watcher.frames[-1].size == (240, 136)
        assert (again.pts - last.pts) / 90000 == pytest.approx(again.time - last.time, abs=0.7)  # as long as it took
        assert relay.total("hime_keyframes_total") == keyframes + 2  # one for each encoding
        assert relay.rooms.get("r").participants["ann"].people is people
        assert len(relay.rooms.get("r").participants["ann"].watchers) == 2
        assert "reconnecting" not in (await relay.http.get("/api/rooms/r")).json()
        assert len(named(events, "joined", "ann")) == 2 and not named(events, "left", "ann")
        assert (await watcher.leave()).status_code == 200
        ann = relay.rooms.get("r").participants["ann"]
        await until(lambda: len(ann.video.views.tracks) == 1 and not ann.audio._tracks)
        assert relay.rooms.limits.admission.watchers.taken == 1


async def test_one_who_comes_back_at_once_is_soon_seen_again() -> None:
    """As from Wi-Fi to LTE: by another session, while the old one still seems alive."""
    async with serving() as relay, relay.events() as events:
        first = await relay.peer().publish("/whip/r/ann", MovingVideo(320, 180), Tone())
        watcher = await relay.peer().watch("/whep/r/ann?layout=native")
        await until(lambda: len(watcher.frames) > 10 and len(watcher.audio) > 20)
        cut_at = time.monotonic()
        first.cut()
        second = await relay.peer().publish("/whip/r/ann", MovingVideo(240, 136), Tone())
        await until(lambda: watcher.frames[-1].size == (240, 136))
        seen = first_of(watcher, (240, 136))
        print(f"\nthe watcher's next frame came {watcher.frames[seen].time - cut_at:.2f} s after the cut")
        await until(lambda: len(watcher.frames) > seen + 20)
        assert risen(watcher) and not watcher.ended
        assert not named(events, "reconnecting", "ann") and not named(events, "left", "ann")
        assert (await second.leave()).status_code == 200
        await until(lambda: watcher.pc.connectionState == "closed")


@pytest.mark.parametrize("how", ["time", "delete", "watcher"])
async def test_what_ends_the_waiting_leaves_nothing(how: str) -> None:
    async with serving(media_timeout_s=1.5, reconnect_s=2 if how == "time" else 30) as relay, relay.events() as events:
        first = await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
        watcher = await relay.peer().watch("/whep/r/ann?layout=native")
        await until(lambda: watcher.frames and watcher.audio)
        await lose(relay, events, first)
        assert not watcher.ended and (await relay.http.delete(f"{first.location}x")).status_code == 404
        if how == "watcher":
            assert (await watcher.leave()).status_code == 200
        else:
            if how == "delete":
                assert (await relay.http.delete(first.location)).status_code == 200
            await until(lambda: "video" in watcher.ended and watcher.pc.connectionState == "closed")
            await until(lambda: len(named(events, "left", "ann")) == 1)
            assert (await relay.http.delete(watcher.location)).status_code == 404
        await until(lambda: not relay.rooms.limits.admission.watchers.taken)
        await until(lambda: relay.enhancers[0].closed)
        await until(lambda: not relay.rooms.limits.admission.streams.taken)


async def test_one_who_comes_back_without_a_picture_is_heard_and_later_seen_again() -> None:
    async with serving(media_timeout_s=1.0) as relay, relay.events() as events:
        first = await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
        watcher = await relay.peer().watch("/whep/r/ann?layout=native")
        await until(lambda: len(watcher.frames) > 5 and len(watcher.audio) > 5)
        await lose(relay, events, first)
        second = await relay.peer().publish("/whip/r/ann", Tone())
        heard = len(watcher.audio)
        await until(lambda: len(watcher.audio) > heard + 20)
        seen = len(watcher.frames)
        second.cut()
        await until(lambda: len(named(events, "reconnecting", "ann")) == 2)
        await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
        await until(lambda: len(watcher.frames) > seen + 5)
        assert risen(watcher)


async def test_a_stranger_who_takes_the_name_gets_none_of_the_watchers() -> None:
    async with serving(media_timeout_s=1.0) as relay, relay.events() as events:
        first = await relay.peer().publish("/whip/r/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: watcher.frames)
        await lose(relay, events, first)
        transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")  # another subject, as there are no tokens
        async with httpx.AsyncClient(transport=transport, base_url=relay.http.base_url) as elsewhere:
            stranger = await Peer(elsewhere).publish("/whip/r/ann", MovingVideo())
            await until(lambda: watcher.pc.connectionState == "closed")
            await until(lambda: len(named(events, "joined", "ann")) == 2)
            assert len(named(events, "left", "ann")) == 1
            await stranger.close()


async def test_closing_the_relay_ends_who_waits() -> None:
    async with serving(media_timeout_s=1.0) as relay, relay.events() as events:
        first = await relay.peer().publish("/whip/r/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: watcher.frames)
        await lose(relay, events, first)
        await relay.rooms.close()
        await until(lambda: watcher.pc.connectionState == "closed")
        assert not relay.rooms.limits.admission.watchers.taken
