"""A name that is in use: by whom and when it is taken over, and that the running call does not notice before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import httpx
import pytest

from benchmarks.shared.peers import MovingVideo, Peer, Relay, Tone, serving, until
from tests.media.test_rooms import named
from tests.unit.access_world import KEYS, bearer, token

BOTH = {"publish": True, "watch": True}


@asynccontextmanager
async def guarded(**settings: object) -> AsyncIterator[Relay]:
    """A relay that asks for tokens."""
    async with serving(api_keys=f"tokens:{KEYS['tokens']}", **settings) as relay:
        yield relay


@asynccontextmanager
async def as_one(relay: Relay, name: str, room: str = "r") -> AsyncIterator[Peer]:
    """A peer that shows that name's token."""
    async with httpx.AsyncClient(
        base_url=relay.http.base_url, timeout=20, headers=bearer(token(name, room, **BOTH))
    ) as http:
        peer = Peer(http)
        try:
            yield peer
        finally:
            await peer.close()


async def goes_on(watcher: Peer, count: int = 20) -> None:
    """Waits for that many more frames of the same stream. Single ones may fall out where the machine is busy; a call
    that is touched would end, begin anew, or stand still."""
    start = len(watcher.frames)
    await until(lambda: len(watcher.frames) >= start + count)
    numbers = [frame.number for frame in watcher.frames[start - 1 :]]
    assert all(1 <= after - before < 10 for before, after in pairwise(numbers)), numbers
    assert not watcher.ended and watcher.pc.connectionState == "connected"


async def test_the_same_subject_takes_its_name_over_once_its_media_comes() -> None:
    async with guarded() as relay, AsyncExitStack() as stack:
        first, second, watcher, after = [
            await stack.enter_async_context(as_one(relay, name)) for name in ("ann", "ann", "bob", "bob")
        ]
        await first.publish("/whip/r/ann", MovingVideo(320, 180))
        await watcher.watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: len(watcher.frames) > 5)
        await second.publish("/whip/r/ann", MovingVideo(240, 136))
        await until(lambda: first.pc.connectionState == "closed")
        await until(lambda: watcher.frames[-1].size == (240, 136))
        assert not watcher.ended
        await after.watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: len(after.frames) > 10)
        assert after.frames[-1].size == (240, 136)
        assert (await first.http.delete(first.location)).status_code == 404
        assert (await second.leave()).status_code == 200


async def test_another_subject_gets_409_and_the_call_loses_nothing() -> None:
    """Without tokens, the subject is the address: 127.0.0.2 is another one."""
    async with serving() as relay, relay.events() as events:
        await relay.peer().publish("/whip/r/ann", MovingVideo(fps=10))
        watcher = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: len(watcher.frames) > 5)
        transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx.AsyncClient(transport=transport, base_url=relay.http.base_url) as elsewhere:
            for _ in range(5):
                stranger = Peer(elsewhere)
                stranger.pc.addTrack(MovingVideo())
                answer = await stranger.offer("/whip/r/ann")
                assert answer.status_code == 409 and answer.headers["content-type"] == "application/problem+json"
                assert "ann" not in answer.text
                await stranger.close()
            for location in (relay.peers[0].location, watcher.location):
                assert (await elsewhere.delete(location)).status_code == 403
                fragment = {"Content-Type": "application/trickle-ice-sdpfrag"}
                assert (await elsewhere.patch(location, content="", headers=fragment)).status_code == 403
            other = Peer(elsewhere)
            assert (await other.publish("/whip/r/bob", MovingVideo(fps=5))).location
            await other.close()
        await goes_on(watcher)
        assert len(relay.enhancers) == 2  # nothing was built for who was refused
        assert relay.total("hime_refused_total", reason="name_taken") == 5
        assert relay.total("hime_refused_total", reason="forbidden") == 4
        assert len(named(events, "joined", "ann")) == 1 and not named(events, "left", "ann")


async def test_a_newcomer_without_media_leaves_the_running_call_alone() -> None:
    async with serving() as relay, relay.events() as events:
        await relay.peer().publish("/whip/r/ann", MovingVideo(fps=10), Tone())
        watcher = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: len(watcher.frames) > 5)
        ghost = Peer(relay.http)
        ghost.pc.addTrack(MovingVideo())
        answer = await ghost.offer("/whip/r/ann?person=zoe")  # never connects, as it does not take the answer
        assert answer.status_code == 201
        room = relay.rooms.get("r")
        room._connect_timeout = 1.5  # of newcomers; what their sessions take is as it was
        incumbent = room.participants["ann"]
        (newcomer,) = (one.participant for one in room._newcomers.values())
        assert (await relay.http.get("/api/rooms/r/ann/bank")).json()["people"] == []
        assert relay.total("hime_streams", direction="in") == 1
        again = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
        await goes_on(watcher)
        await until(lambda: len(again.frames) > 5)
        assert newcomer is not incumbent and newcomer.people is incumbent.people and not newcomer.watchers
        assert not any(thread.ident for thread in newcomer.video._threads)
        await until(lambda: relay.enhancers[1].closed, 6, "the newcomer's end")
        assert not room._newcomers and room.participants["ann"] is incumbent
        await goes_on(watcher)
        assert relay.enhancers[1].sizes == [] and not relay.enhancers[0].closed
        assert (await relay.http.delete(answer.headers["location"])).status_code == 404
        assert len(named(events, "joined", "ann")) == 1 and not named(events, "left", "ann")
        await ghost.close()


async def test_who_waits_can_add_candidates_and_give_up() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        incumbent = relay.rooms.get("r").participants["ann"]
        await until(lambda: incumbent.joined)
        ghost = Peer(relay.http)
        ghost.pc.addTrack(MovingVideo())
        created = (await ghost.offer("/whip/r/ann")).headers
        location = created["location"]
        fragment = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": created["etag"]}
        body = "a=candidate:1 1 udp 2130706431 192.0.2.77 50000 typ host\r\na=end-of-candidates\r\n"
        answer = await relay.http.patch(location, content=f"m=video 9 RTP/AVP 0\r\na=mid:0\r\n{body}", headers=fragment)
        assert answer.status_code == 204, answer.text
        assert (await relay.http.delete(location)).status_code == 200
        assert (await relay.http.delete(location)).status_code == 404
        assert relay.rooms.get("r").participants["ann"] is incumbent
        await until(lambda: relay.enhancers[1].closed)
        await ghost.close()


async def test_sound_alone_takes_over_too() -> None:
    async with serving() as relay:
        first = await relay.peer().publish("/whip/r/ann", Tone())
        await until(lambda: relay.rooms.get("r").participants["ann"].joined)
        await relay.peer().publish("/whip/r/ann", Tone())
        await until(lambda: first.pc.connectionState == "closed")
        listener = await relay.peer().watch("/whep/r/ann", ("audio",))
        await until(lambda: len(listener.audio) > 20)


async def test_with_tokens_a_call_works_and_strangers_cannot_touch_it() -> None:
    fragment = {"Content-Type": "application/trickle-ice-sdpfrag"}
    async with guarded() as relay, AsyncExitStack() as stack:
        ann, bob, eve = [await stack.enter_async_context(as_one(relay, name)) for name in ("ann", "bob", "eve")]
        elsewhere = await stack.enter_async_context(as_one(relay, "ann", "s"))
        await ann.publish("/whip/r/ann", MovingVideo(fps=10), Tone())
        await bob.watch("/whep/r/ann?layout=native")
        await until(lambda: len(bob.frames) > 5)
        for http, status in ((relay.http, 401), (eve.http, 403), (elsewhere.http, 403)):
            for location in (ann.location, bob.location):
                assert (await http.delete(location)).status_code == status
                assert (await http.patch(location, content="", headers=fragment)).status_code == status
            stranger = Peer(http)
            stranger.pc.addTrack(MovingVideo())
            assert (await stranger.offer("/whip/r/ann")).status_code == status
            await stranger.close()
            assert (await http.get("/api/rooms/r/ann/bank")).status_code == status
        assert (await eve.http.get("/api/rooms/r")).json()["participants"].keys() == {"ann"}
        assert (await elsewhere.http.get("/api/rooms/r")).status_code == 403
        assert (await ann.http.delete(bob.location)).status_code == 403  # not even whom bob watches
        await goes_on(bob)
        assert (await bob.http.delete(bob.location)).status_code == 200
        assert (await ann.http.delete(ann.location)).status_code == 200


async def test_a_call_runs_on_when_its_token_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    async with guarded() as relay:
        shown = token("ann", seconds=-1, **BOTH)  # which the clocks' leeway still lets in
        async with httpx.AsyncClient(base_url=relay.http.base_url, headers=bearer(shown)) as http:
            ann = await Peer(http).publish("/whip/r/ann", MovingVideo())
            participant = relay.rooms.get("r").participants["ann"]
            await until(lambda: participant.joined)
            monkeypatch.setattr("server.access.tokens.LEEWAY", 0)
            assert (await http.get("/api/rooms/r")).status_code == 401
            frames = participant.video.frames
            await until(lambda: participant.video.frames > frames + 20)
            await ann.close()
