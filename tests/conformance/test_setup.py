"""An offer, its answer, and the session that they make."""

from __future__ import annotations

import asyncio
from urllib.parse import urljoin

import httpx
import pytest
from aiortc import RTCSessionDescription

from benchmarks.shared.peers import MovingVideo, Peer, Tone, until
from tests.conformance.conftest import Serve
from tests.conformance.relay import (
    SDP,
    WHEP,
    WHIP,
    Side,
    begin,
    endpoint,
    is_problem,
    lines,
    offer,
    post,
    sections,
)


async def test_an_offer_makes_a_session(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.2, WHEP 4.2.1: 201 with the SDP answer as application/sdp, and Location of the new session, which may be
    relative to the endpoint (RFC 9110, section 10.2.2)."""
    begun = await begin(http, side)
    assert begun.created.headers["content-type"].partition(";")[0] == SDP
    session = urljoin(str(begun.created.url), begun.path)
    assert session.startswith(str(http.base_url)) and session != str(begun.created.url)
    assert (await http.get(session)).status_code == 204
    assert len(sections(begun.created.text)) == 2


async def test_a_session_cannot_be_guessed(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 5, WHEP 5: the URL of a session is random, so that nobody ends another's: 128 bits here."""
    urls = [(await begin(http, side)).path.rpartition("/")[2] for _ in range(3)]
    assert len(set(urls)) == 3 and all(len(one) >= 22 for one in urls)


@pytest.mark.parametrize("offered", ["one way", "sendrecv"])
async def test_the_answer_is_one_way(http: httpx.AsyncClient, side: Side, offered: str) -> None:
    """WHIP 4.2, WHEP 4.2.5: the answer to sendonly or sendrecv is recvonly, to recvonly or sendrecv sendonly."""
    direction = side.direction if offered == "one way" else "sendrecv"
    answer = await post(http, await endpoint(http, side), await offer(direction))
    assert [f"a={side.answered}" in one.splitlines() for one in sections(answer.text)] == [True, True]


@pytest.mark.parametrize("wrong", ["the other way", "inactive"])
async def test_an_offer_that_goes_the_wrong_way_is_refused(http: httpx.AsyncClient, side: Side, wrong: str) -> None:
    """WHIP 4.2, WHEP 4.2.5: clients must not offer this."""
    direction = side.answered if wrong == "the other way" else "inactive"
    is_problem(await post(http, await endpoint(http, side), await offer(direction)), 400)


async def test_media_share_one_transport(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.4.1, WHEP 4.5.1: all sections in one BUNDLE group (RFC 9143), RTP and RTCP on one port.

    Departs, and cannot but: both ask endpoints for rtcp-mux-only as RFC 8858, section 3, has it, which forbids it in
    answers. The relay's have a=rtcp-mux alone, and no port for RTCP but RTP's.
    """
    begun = await begin(http, side)
    (group,) = lines(begun.created.text, "group")
    assert group.split() == ["BUNDLE", *lines(begun.sdp, "mid")]
    for section in sections(begun.created.text):
        assert len(lines(section, "rtcp-mux")) == 1 and not lines(section, "rtcp-mux-only")
    assert len(set(lines(begun.created.text, "ice-ufrag"))) == len(set(lines(begun.created.text, "ice-pwd"))) == 1


async def test_offers_that_are_not_bundled_are_refused(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.4.1 and 4.4.3, WHEP 4.5.1: refused as a whole rather than answered in part."""
    sdp = await offer(side.direction)
    alone = "".join(line for line in sdp.splitlines(True) if not line.startswith("a=group:"))
    is_problem(await post(http, await endpoint(http, side), alone), 400, 422)


async def test_two_tracks_of_a_kind_are_refused(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.4.2, WHEP 4.5.2: one audio and one video at most, more is answered with 400 or 422."""
    for kinds in (("video", "video"), ("audio", "video", "audio")):
        is_problem(await post(http, await endpoint(http, side), await offer(side.direction, *kinds)), 400, 422)


@pytest.mark.parametrize("kind", ["audio", "video"])
async def test_one_track_is_enough(http: httpx.AsyncClient, side: Side, kind: str) -> None:
    """WHIP 4.4.2, WHEP 4.5.2: at least one of any kind."""
    answer = await post(http, await endpoint(http, side), await offer(side.direction, kind))
    assert answer.status_code == 201 and len(sections(answer.text)) == 1


async def test_a_section_that_cannot_be_answered_refuses_the_offer(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.4.3: no partially successful session: an offer whose video nobody speaks is refused, its audio too."""
    sdp = (await offer(side.direction)).replace("VP8/90000", "VP0/90000").replace("H264/90000", "H200/90000")
    is_problem(await post(http, await endpoint(http, side), sdp), 400, 422)


async def test_what_is_watched_is_one_stream(http: httpx.AsyncClient) -> None:
    """WHEP 4.5.2: all sections of the answer have an msid of the same MediaStream."""
    begun = await begin(http, WHEP)
    streams = [value.split()[0] for value in lines(begun.created.text, "msid")]
    assert len(streams) == 2 and len(set(streams)) == 1


@pytest.mark.parametrize(("offered", "answered"), [("actpass", {"active", "passive"}), ("active", {"passive"})])
async def test_the_client_may_be_the_dtls_client(
    http: httpx.AsyncClient, side: Side, offered: str, answered: set[str]
) -> None:
    """WHIP 4.4.4 (RFC 8842): actpass leaves the role open, active leaves the relay the server's."""
    sdp = (await offer(side.direction)).replace("a=setup:actpass", f"a=setup:{offered}")
    answer = await post(http, await endpoint(http, side), sdp)
    assert answer.status_code == 201 and set(lines(answer.text, "setup")) <= answered


async def test_the_answer_holds_all_candidates(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.3.2, WHEP 4.4.2: the relay gathers before it answers, and trickles nothing later."""
    answer = (await begin(http, side)).created.text
    assert lines(answer, "candidate") and "a=end-of-candidates" in answer.splitlines()


async def test_a_call_goes_through_and_a_delete_ends_it(http: httpx.AsyncClient) -> None:
    """WHIP 4.2, WHEP 4.3: DELETE of the session's URL answers 200, frees it, and ends DTLS and the consent to send (RFC
    7675, section 5.2); a second one finds nothing."""
    path = await endpoint(http, WHIP)
    publisher = await Peer(http).publish(path, MovingVideo(), Tone())
    watcher = await Peer(http).watch(path.replace("whip", "whep") + "?view=original")
    try:
        await until(lambda: watcher.frames and watcher.audio)
        assert (await http.delete(watcher.location)).status_code == 200
        await until(lambda: watcher.pc.connectionState == "closed")
        is_problem(await http.delete(watcher.location), 404)
        assert publisher.pc.connectionState == "connected"
        assert (await http.delete(publisher.location)).status_code == 200
        await until(lambda: publisher.pc.connectionState == "closed")
        is_problem(await http.delete(publisher.location), 404)
    finally:
        await watcher.close()
        await publisher.close()


async def test_closing_dtls_ends_the_session(http: httpx.AsyncClient) -> None:
    """WHIP 4.2, WHEP 4.2.8: either side may end it by DTLS alone."""
    publisher = await Peer(http).publish(await endpoint(http, WHIP), MovingVideo())
    await until(lambda: publisher.pc.connectionState == "connected")
    await publisher.close()
    async with asyncio.timeout(15):
        while (await http.get(publisher.location)).status_code != 404:
            await asyncio.sleep(0.05)


async def test_delete_heeds_no_entity_tag(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.3.1, WHEP 4.4.1: an entity tag that comes with DELETE is ignored."""
    begun = await begin(http, side)
    assert (await http.delete(begun.path, headers={"If-Match": '"another"'})).status_code == 200


async def test_who_is_not_there_cannot_be_watched(http: httpx.AsyncClient) -> None:
    """WHEP 4.2.8. Departs: the draft asks for 409 with Retry-After where nobody publishes yet; the relay's endpoints
    are those who are in a room, so that it answers 404."""
    is_problem(await post(http, "/whep/nowhere/nobody", await offer("recvonly")), 404)


async def test_a_name_in_use_is_a_conflict(relay_url: str, http: httpx.AsyncClient) -> None:
    """RFC 9110, section 15.5.10: somebody else has the name in this room. Without tokens an address is who one is."""
    path = await endpoint(http, WHIP)
    assert (await post(http, path, await offer("sendonly"))).status_code == 201
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx.AsyncClient(base_url=relay_url, transport=elsewhere, timeout=30) as other:
        is_problem(await post(other, path, await offer("sendonly")), 409)


@pytest.mark.parametrize("setup", ["active", "actpass"])
async def test_either_dtls_role_connects(http: httpx.AsyncClient, setup: str) -> None:
    """WHIP 4.4.4: what is answered to `active` is meant, and carries media."""
    path = await endpoint(http, WHIP)
    peer = Peer(http)
    peer.pc.addTrack(Tone())
    await peer.pc.setLocalDescription(await peer.pc.createOffer())
    sdp = peer.pc.localDescription.sdp.replace("a=setup:actpass", f"a=setup:{setup}")
    answer = await post(http, path, sdp)
    await peer.pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    await until(lambda: peer.pc.connectionState == "connected")
    await peer.close()


async def test_offers_are_limited(serve: Serve) -> None:
    """WHIP 5, WHEP 5: endpoints limit the rate of offers; RFC 6585, section 4: 429 may say when to come again."""
    http = serve(sessions_per_minute=1)
    assert (await post(http, await endpoint(http, WHIP), await offer("sendonly"))).status_code == 201
    answer = await post(http, await endpoint(http, WHIP), await offer("sendonly"))
    is_problem(answer, 429)
    assert int(answer.headers["retry-after"]) > 0
