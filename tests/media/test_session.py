"""Whose fault it is when an offer is not answered, and what a session leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from benchmarks.shared.peers import MovingVideo, serving, until
from server.media import session as sessions
from server.media.aiortc_door import PeerTransport
from server.media.ice_connection import Network
from server.media.negotiation import InvalidOffer, Offer
from server.media.receive.capture import CaptureClock
from server.media.send.bitrate import Bitrates
from server.media.send.encoder import Encoding
from server.media.send.tracks import AudioRelay, VideoFeed, VideoTrack
from server.media.session import Session


@asynccontextmanager
async def offered(direction: str, *kinds: str) -> AsyncIterator[Offer]:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in kinds:
        pc.addTransceiver(kind, direction)
    await pc.setLocalDescription(await pc.createOffer())
    yield Offer.parse(pc.localDescription.sdp)
    await pc.close()


class Broken:
    """In the place of a part of the relay: raises what the relay's own mistakes may raise."""

    def __init__(self, *arguments: object) -> None:
        raise KeyError("the relay's own")


@pytest.mark.parametrize("kind", ["1 tcp", "2 udp"])
async def test_one_whose_candidates_are_of_no_use_is_answered(kind: str) -> None:
    """aioice would then have no candidates of its own either, as if the machine could open no socket."""
    async with offered("sendonly", "audio") as own:
        lines = [line for line in own.sdp.splitlines() if not line.startswith(("a=candidate", "a=end-of"))]
        of_no_use = [f"a=candidate:1 {kind} 2113937151 192.0.2.1 5000 typ host", "a=end-of-candidates"]
        session = Session(Network(), Encoding())
        await session.publish(Offer.parse("\r\n".join([*lines, *of_no_use, ""])), None, AudioRelay())
        assert "a=candidate" in session.answer
        await session.close()


async def test_the_relays_own_error_is_no_invalid_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "AudioReceiver", Broken)
    async with offered("sendonly", "audio") as offer:
        session = Session(Network(), Encoding())
        with pytest.raises(KeyError, match="the relay's own"):
            await session.publish(offer, None, AudioRelay())
        assert session._transport.state == "over"


async def test_the_relays_own_error_is_not_put_to_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "VideoSender", Broken)
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        watcher = relay.peer()
        watcher.pc.addTransceiver("video", "recvonly")
        answer = await watcher.offer("/whep/r/ann")
        assert answer.status_code == 500
        ann = relay.rooms.get("r").participants["ann"]
        assert not ann.watchers and not ann.video.views.tracks


async def test_an_offer_that_cannot_be_answered_closes_the_session_and_ends_its_tracks() -> None:
    async with offered("recvonly", "audio") as offer:
        track = AudioRelay().watch()
        wrong = Offer.parse(offer.sdp.replace("opus", "other"))
        with pytest.raises(InvalidOffer, match="opus/48000/2"):
            await Session(Network(), Encoding()).watch(wrong, None, track)
        assert track.ended


async def test_a_session_that_is_closed_while_it_answers_gives_no_answer_and_no_error() -> None:
    async with offered("recvonly", "audio", "video") as offer:
        session, video = Session(Network(), Encoding()), VideoTrack(Bitrates(), VideoFeed(CaptureClock(90000)))
        answering = asyncio.create_task(session.watch(offer, video, AudioRelay().watch()))
        await asyncio.sleep(0)
        await session.close()
        await answering
        assert session.answer == "" and session._connecting is None
        assert video.ended


async def test_who_leaves_while_a_watcher_is_answered_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as relay:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo())
        await until(lambda: relay.rooms.get("r").participants["ann"].joined)
        gather, reached, go_on = PeerTransport.gather, asyncio.Event(), asyncio.Event()

        async def slowly(transport: PeerTransport) -> None:
            reached.set()
            await go_on.wait()
            await gather(transport)

        monkeypatch.setattr(PeerTransport, "gather", slowly)
        watcher = relay.peer()
        watcher.pc.addTransceiver("video", "recvonly")
        answering = asyncio.create_task(watcher.offer("/whep/r/ann"))
        await reached.wait()
        assert (await publisher.leave()).status_code == 200
        go_on.set()
        answer = await answering
        assert (answer.status_code, answer.json()["detail"]) == (404, "The participant has left.")
