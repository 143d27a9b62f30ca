"""What a running call does about a peer that sends too much, or nothing; the others do not notice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aioice.stun import Class, Message, Method

from benchmarks.shared.peers import MovingVideo, Tone, serving, until
from server.media.aiortc_door import PeerTransport
from server.media.ice_connection import MAX_LEARNED, MAX_SOCKETS, MAX_WAITING, Network

Events = list[tuple[float, str, dict[str, Any]]]


def named(events: Events, name: str) -> list[dict[str, Any]]:
    return [data for _, event, data in events if event == name]


async def test_one_whose_pictures_are_too_large_is_told_and_ended_and_the_others_go_on() -> None:
    async with serving(max_frame_pixels=320 * 192) as relay, relay.events() as events:
        await relay.peer().publish("/whip/r/ann", MovingVideo(320, 180))
        watcher = await relay.peer().watch("/whep/r/ann", ("video",))
        large = await relay.peer().publish("/whip/r/bob", MovingVideo(640, 360))
        await until(lambda: watcher.frames and relay.total("hime_refused_total", reason="pixels") > 5)
        body = (await relay.http.get("/api/rooms/r")).json()
        assert body["refused"] == {"bob": "pixels"} and set(body["participants"]) == {"ann"}
        await until(lambda: large.pc.connectionState == "closed", what="the end of the session")
        await until(lambda: named(events, "refused"))
        (told,) = named(events, "refused")
        assert (told["participant"], told["reason"]) == ("bob", "pixels") and "smaller" in told["detail"]
        assert (await relay.http.get("/api/rooms/r")).json()["refused"] == {"bob": "pixels"}
        assert not relay.enhancers[1].sizes  # not one was looked at
        shown = len(watcher.frames)
        await until(lambda: len(watcher.frames) > shown + 10)
        await until(lambda: relay.rooms.limits.admission.streams.taken == 1)


async def test_one_who_grows_too_large_meanwhile_may_become_smaller_again() -> None:
    async with serving(max_frame_pixels=400 * 240) as relay:
        video = MovingVideo(320, 180)
        await relay.peer().publish("/whip/r/ann", video)
        watcher = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: watcher.frames)
        video.width, video.height = 640, 360
        await until(lambda: relay.total("hime_refused_total", reason="pixels") > 10)
        assert (await relay.stats())["ann"]["refused"] == "pixels"
        video.width, video.height = 240, 136
        await until(lambda: watcher.frames[-1].size == (240, 136))
        await until(lambda: not relay.rooms.get("r").refusals())
        assert "refused" not in (await relay.stats())["ann"]


async def test_what_comes_too_fast_is_thinned_out() -> None:
    async with serving(max_frame_rate=10) as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo(160, 90, fps=16))
        await until(lambda: relay.total("hime_refused_total", reason="frame_rate") > 10)
        ann = relay.rooms.get("r").participants["ann"]
        assert (await relay.stats())["ann"]["refused"] == "frame_rate"
        begun = ann.video.frames
        seconds = await until(lambda: ann.video.frames >= begun + 30)
        assert 30 / seconds < 13


async def test_one_who_sends_nothing_of_use_is_ended() -> None:
    async with serving(first_media_timeout_s=1.0, max_frame_pixels=256) as relay, relay.events() as events:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        await until(lambda: named(events, "refused"))
        assert named(events, "refused")[0]["reason"] == "no_media"
        assert not relay.rooms.get("r").participants


async def test_one_whose_camera_is_off_but_who_is_heard_stays() -> None:
    class Off(MovingVideo):
        async def recv(self) -> Any:
            await asyncio.sleep(3600)

    async with serving(first_media_timeout_s=1.0) as relay:
        await relay.peer().publish("/whip/r/ann", Off(), Tone())
        await asyncio.sleep(2.5)
        assert "ann" in relay.rooms.get("r").participants


async def test_a_connection_without_media_ends_after_the_time_that_is_set() -> None:
    async with serving(media_timeout_s=1.0, reconnect_s=0) as relay, relay.events() as events:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo())
        await until(lambda: named(events, "joined"))
        publisher.cut()
        assert await until(lambda: named(events, "left")) < 4


async def test_a_call_goes_on_in_the_same_place_when_it_comes_back() -> None:
    async with serving(max_streams=1) as relay, relay.events() as events:
        for number in range(1, 4):
            await relay.peer().publish("/whip/r/ann", MovingVideo())
            await until(lambda number=number: len(named(events, "joined")) == number)
            assert relay.rooms.limits.admission.streams.taken == 1


# --- the network's side


@pytest.fixture
async def transport() -> Any:
    counted: list[str] = []
    made = PeerTransport(Network(), lambda data: None, lambda data: None, lambda: None, refused=counted.append)
    made.counted = counted
    await made.gather()
    made._ice.connection.remote_username, made._ice.connection.remote_password = "them", "p" * 22
    yield made
    await made.close()


def check(transport: PeerTransport, priority: int = 1) -> bytes:
    """A connectivity check as the peer itself may make it."""
    connection = transport._ice.connection
    request = Message(Method.BINDING, Class.REQUEST)
    request.attributes |= {"USERNAME": f"{connection.local_username}:them", "PRIORITY": priority, "ICE-CONTROLLING": 1}
    request.add_message_integrity(connection.local_password.encode())
    return bytes(request)


async def test_a_peer_that_checks_from_ever_new_ports_is_learned_of_so_often_and_no_more(transport: Any) -> None:
    connection = transport._ice.connection
    connection._early_checks_done = True
    protocol, data = connection._protocols[0], check(transport)
    for port in range(5000, 5500):
        protocol.datagram_received(data, (protocol.local_candidate.host, port))
    assert len(connection._remote_candidates) == len(connection._check_list) == MAX_LEARNED
    assert transport.counted == ["candidates"] * (500 - MAX_LEARNED)
    protocol.datagram_received(data, (protocol.local_candidate.host, 5000))  # a known one is still listened to
    assert len(transport.counted) == 500 - MAX_LEARNED


async def test_datagrams_of_strangers_do_not_pile_up(transport: Any) -> None:
    protocol = transport._ice.connection._protocols[0]
    for _ in range(10 * MAX_WAITING):
        protocol.datagram_received(b"\x16 as if it were DTLS" + bytes(1000), ("192.0.2.9", 9))
    assert transport._ice.connection._queue.empty()
    assert transport.counted == []


async def test_sockets_are_bounded(transport: Any) -> None:
    made = await transport._ice.connection.get_component_candidates(1, ["127.0.0.1"] * 50)
    assert len(made) == MAX_SOCKETS
