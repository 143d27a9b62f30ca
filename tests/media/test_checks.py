"""Connection tests: real connections that carry nothing, show to nobody, and end by themselves."""

from __future__ import annotations

import httpx
from aiortc import RTCSessionDescription

from benchmarks.shared.peers import MovingVideo, Peer, Relay, serving, until

CHECK = "/api/rooms/r/check"


async def offered(relay: Relay, direction: str = "inactive") -> tuple[Peer, httpx.Response]:
    peer = relay.peer()
    peer.pc.addTransceiver("audio", direction=direction)
    return peer, await peer.offer(CHECK)


async def connected(relay: Relay, direction: str = "inactive") -> Peer:
    peer, answer = await offered(relay, direction)
    assert answer.status_code == 201, answer.text
    await peer.pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    await until(lambda: peer.pc.connectionState == "connected")
    return peer


async def test_a_way_is_tested_and_nobody_sees_it() -> None:
    async with serving() as relay, relay.events() as events:
        for direction in ("inactive", "recvonly", "sendonly"):
            peer = await connected(relay, direction)
            assert "a=inactive" in peer.pc.remoteDescription.sdp
        assert await relay.stats() == {} and {name for _, name, _ in events} <= {"stats"}


async def test_a_test_ends_by_itself_and_calls_go_on() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann", ("video",))
        relay.rooms.checks.lasts = 0.5
        peer = await connected(relay)
        await until(lambda: peer.pc.connectionState == "closed")
        places = relay.rooms.limits.admission.checks
        await until(lambda: places.taken == 0)
        seen = len(watcher.frames)
        await until(lambda: len(watcher.frames) > seen + 10)


async def test_a_peer_that_leaves_or_never_comes_gives_its_place_back() -> None:
    async with serving(max_checks=1) as relay:
        places = relay.rooms.limits.admission.checks
        peer = await connected(relay)
        _, refused = await offered(relay)
        assert refused.status_code == 503 and refused.json()["limit"] == "HIME_MAX_CHECKS"
        assert refused.headers["retry-after"] and relay.total("hime_refused_total", reason="checks") == 1
        await peer.pc.close()
        await until(lambda: places.taken == 0)
        relay.rooms.checks.lasts = 0.3
        _, answer = await offered(relay)  # and goes no further
        assert answer.status_code == 201 and places.taken == 1
        await until(lambda: places.taken == 0)


async def test_what_is_no_offer_is_refused_and_takes_no_place() -> None:
    async with serving() as relay:
        headers = {"Content-Type": "application/sdp"}
        assert (await relay.http.post(CHECK, content="v=0\r\n", headers=headers)).status_code == 400
        data_channel = relay.peer()
        data_channel.pc.createDataChannel("x")
        answer = await data_channel.offer(CHECK)
        assert answer.status_code == 400 and "no media" in answer.json()["detail"]
        assert relay.rooms.limits.admission.checks.taken == 0


async def test_the_end_of_the_relay_ends_tests() -> None:
    async with serving() as relay:
        peer = await connected(relay)
        await relay.rooms.close()
        await until(lambda: peer.pc.connectionState == "closed")
