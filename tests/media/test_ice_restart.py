"""ICE restarts by PATCH (RFC 9725, section 4.3.3): a call goes on from another address, under the same DTLS."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from aioice.ice import StunProtocol
from aiortc import RTCIceGatherer, RTCIceParameters, RTCIceTransport
from aiortc.sdp import candidate_to_sdp

from benchmarks.shared.peers import MovingVideo, Peer, Tone, serving, until
from benchmarks.shared.relays import free_port
from server.media.fragments import Fragment
from server.media.sockets import NoPort, OwnPorts
from tests.media.test_rooms import named
from tests.unit.limited_rooms import candidates

SDP_FRAGMENT = "application/trickle-ice-sdpfrag"


async def patch(peer: Peer, body: str, tag: str | None) -> httpx.Response:
    headers = {"Content-Type": SDP_FRAGMENT} | ({} if tag is None else {"If-Match": tag})
    return await peer.http.patch(peer.location, content=body, headers=headers)


async def restart(peer: Peer, tag: str = "*") -> httpx.Response:
    """Takes the peer's old sockets away, and goes on with new ones. aiortc cannot do that by itself: its DTLS is given
    another ICE transport, which reads into the same queue."""
    dtls = peer.pc.getTransceivers()[0].receiver.transport
    gatherer = RTCIceGatherer([])
    gatherer._connection.ice_controlling = True
    gatherer._connection._queue = dtls.transport._connection._queue
    await gatherer.gather()
    own, ice = gatherer.getLocalParameters(), RTCIceTransport(gatherer)
    peer.cut()
    lines = [f"a=ice-ufrag:{own.usernameFragment}", f"a=ice-pwd:{own.password}", "m=video 9 RTP/AVP 0", "a=mid:0"]
    lines += [f"a=candidate:{candidate_to_sdp(one)}" for one in gatherer.getLocalCandidates()]
    answer = await patch(peer, "\r\n".join([*lines, "a=end-of-candidates", ""]), tag)
    if answer.status_code == 200:
        fragment = Fragment.parse(answer.text)
        for candidate in [*fragment.candidates, None]:
            await ice.addRemoteCandidate(candidate)
        await ice.start(RTCIceParameters(fragment.ufrag, fragment.password))
        dtls._transport = ice
    return answer


def transport_of(relay: Any, location: str) -> Any:
    """The relay's, of a publisher's or a watcher's session."""
    endpoint, room, name, session = location.strip("/").split("/")
    found = relay.rooms.publication if endpoint == "whip" else relay.rooms.subscription
    return found(room, name, session)._transport


@pytest.mark.parametrize("shared", [False, True])
async def test_a_publisher_and_a_watcher_go_on_from_other_addresses(shared: bool) -> None:
    ports = {"udp_ports": str(free_port())} if shared else {}
    async with serving(media_timeout_s=3, **ports) as relay, relay.events() as events:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
        watcher = await relay.peer().watch("/whep/r/ann?layout=native")
        await until(lambda: len(watcher.frames) > 10 and len(watcher.audio) > 20)
        for peer in (publisher, watcher):
            transport = transport_of(relay, peer.location)
            before, sockets = transport._ice, list(transport._ice.connection._protocols)
            answer = await restart(peer)
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"] == SDP_FRAGMENT
            await until(lambda: transport._ice is not before)  # noqa: B023
            await until(lambda: all(one.transport.is_closing() for one in sockets))  # noqa: B023
            seen, heard = len(watcher.frames), len(watcher.audio)
            await until(lambda: len(watcher.frames) > seen + 40 and len(watcher.audio) > heard + 100)  # noqa: B023
        await asyncio.sleep(4)  # longer than anybody is waited for
        seen = len(watcher.frames)
        await until(lambda: len(watcher.frames) > seen + 20)
        assert not watcher.ended and not named(events, "reconnecting", "ann") and not named(events, "left", "ann")
        assert (await relay.http.delete(publisher.location)).status_code == 200
        await until(lambda: watcher.pc.connectionState == "closed")  # told so over the new way
        assert not relay.rooms.limits.admission.watchers.taken


async def test_restarts_are_told_apart_by_their_tags() -> None:
    async with serving() as relay:
        publisher = relay.peer()
        publisher.pc.addTrack(MovingVideo())
        created = await publisher.offer("/whip/r/ann")
        publisher.location, first = created.headers["location"], created.headers["etag"]
        assert first.startswith('"') and first.endswith('"')  # a strong one
        candidate = "a=candidate:1 1 udp 2130706431 127.0.0.9 50000 typ host\r\n"
        assert (await patch(publisher, candidate, first)).status_code == 204
        assert (await patch(publisher, candidate, f'"old", {first}')).status_code == 204
        missing, other = await patch(publisher, candidate, None), await patch(publisher, candidate, '"old"')
        assert (missing.status_code, other.status_code) == (428, 412)
        assert "If-Match" in missing.json()["detail"] and "ETag" in other.json()["detail"]
        early = await patch(publisher, f"a=ice-ufrag:abcd\r\na=ice-pwd:{'p' * 22}\r\n", "*")
        assert early.status_code == 422 and "not connected" in early.json()["detail"]
        assert (await patch(publisher, candidate, first)).status_code == 204  # the first ICE session goes on


async def test_after_a_restart_the_tag_before_is_outdated() -> None:
    async with serving() as relay:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo())
        transport = transport_of(relay, publisher.location)
        await until(lambda: transport.state == "connected")
        first = f'"{transport.ice_parameters.usernameFragment}"'
        answer = await restart(publisher, first)
        assert answer.status_code == 200
        second = answer.headers["etag"]
        assert second != first
        assert (await patch(publisher, "a=end-of-candidates\r\n", first)).status_code == 412
        assert (await patch(publisher, "a=end-of-candidates\r\n", second)).status_code == 204


@pytest.mark.parametrize("ufrag, password", [("abc", "p" * 22), ("abcd", "p" * 21), ("abcd", "ä" * 22)])
async def test_a_restart_that_cannot_be_says_what_is_wrong(ufrag: str, password: str) -> None:
    async with serving() as relay:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo())
        await until(lambda: relay.rooms.get("r").participants["ann"].joined)
        answer = await patch(publisher, f"a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n", "*")
        assert answer.status_code == 422 and "An ICE restart needs" in answer.json()["detail"]


class Full(OwnPorts):
    """There are none left, once it is so."""

    full = False

    async def open(self, address: str, protocol: StunProtocol) -> None:
        if self.full:
            raise NoPort("all are in use")
        await super().open(address, protocol)


@pytest.mark.parametrize("why", ["no port", "too many candidates"])
async def test_a_restart_that_is_refused_leaves_all_as_it_was_and_the_next_one_counts(why: str) -> None:
    async with serving(max_candidates=30) as relay:
        sockets = Full()
        relay.rooms._network = replace(relay.rooms._network, sockets=sockets)
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo())
        transport = transport_of(relay, publisher.location)
        await until(lambda: relay.rooms.get("r").participants["ann"].joined)
        before, tag = transport._newest, f'"{transport.ice_parameters.usernameFragment}"'
        body = f"a=ice-ufrag:other\r\na=ice-pwd:{'p' * 22}\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\n"
        sockets.full = why == "no port"
        more = candidates(31) if why == "too many candidates" else ""
        refused = await patch(publisher, body + more, "*")
        assert refused.status_code == (503 if sockets.full else 429), refused.text
        assert transport._newest is before
        # The tag of the last answer is still the current one.
        assert (await patch(publisher, "a=end-of-candidates\r\n", tag)).status_code == 204
        sockets.full = False
        again = await patch(publisher, body, "*")
        assert again.status_code == 200 and again.headers["etag"] != tag
        assert transport._newest is not before


async def test_restarts_that_find_no_way_leave_the_call_and_no_sockets() -> None:
    async with serving(connect_timeout_s=1) as relay:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: len(watcher.frames) > 5)
        transport = transport_of(relay, publisher.location)
        used, opened = transport._ice, []
        for number in range(3):  # each takes the place of the one before
            body = f"a=ice-ufrag:nobody{number}\r\na=ice-pwd:{'p' * 22}\r\n"
            assert (await patch(publisher, body, "*")).status_code == 200
            opened += transport._newest.connection._protocols
        assert opened and transport._ice is used
        await until(lambda: all(one.transport.is_closing() for one in opened))
        assert transport._ice is used
        seen = len(watcher.frames)
        await until(lambda: len(watcher.frames) > seen + 20)
        assert not watcher.ended
