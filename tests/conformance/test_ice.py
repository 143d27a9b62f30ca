"""Trickle ICE and ICE restarts by PATCH, and the fragments that carry them (RFC 8840)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from aiortc import RTCSessionDescription

from benchmarks.shared.peers import MovingVideo, Peer, Tone, until
from tests.conformance.conftest import Serve
from tests.conformance.relay import (
    FRAGMENT,
    WHIP,
    Begun,
    Side,
    begin,
    endpoint,
    is_problem,
    lines,
    offer,
    patch,
    post,
    sections,
)

CANDIDATE = "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n"
NEW = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n"


def fragment(begun: Begun, *candidates: str, level: str = "media") -> str:
    """As RFC 8840, section 9, has it. level: where the credentials stand."""
    credentials = f"a=ice-ufrag:{lines(begun.sdp, 'ice-ufrag')[0]}\r\na=ice-pwd:{lines(begun.sdp, 'ice-pwd')[0]}\r\n"
    first = sections(begun.sdp)[0].splitlines()[0]
    group = f"a=group:{lines(begun.sdp, 'group')[0]}\r\n"
    media = f"{first}\r\na=mid:{lines(begun.sdp, 'mid')[0]}\r\n"
    head = group + media + credentials if level == "media" else credentials + group + media
    return head + "".join(candidates) + "a=end-of-candidates\r\n"


@asynccontextmanager
async def connected(http: httpx.AsyncClient, side: Side) -> AsyncIterator[Begun]:
    """A session whose peers have found each other."""
    peer = Peer(http)
    peer.pc.addTransceiver(Tone() if side is WHIP else "audio", side.direction)
    try:
        created = await peer.offer(await endpoint(http, side))
        await peer.pc.setRemoteDescription(RTCSessionDescription(created.text, "answer"))
        await until(lambda: peer.pc.connectionState == "connected")
        yield Begun(created, peer.pc.localDescription.sdp)
    finally:
        await peer.close()


async def test_candidates_are_taken_without_a_word(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.3.2, WHEP 4.4.2: 204 without a body and without an ETag."""
    begun = await begin(http, side)
    answer = await patch(http, begun.path, fragment(begun, CANDIDATE), **begun.tag)
    assert (answer.status_code, answer.content) == (204, b"") and "etag" not in answer.headers


@pytest.mark.parametrize("level", ["session", "media"])
async def test_credentials_may_stand_for_the_session_or_for_the_section(
    http: httpx.AsyncClient, side: Side, level: str
) -> None:
    """RFC 8840, section 9.2: ice-ufrag and ice-pwd are allowed at both levels."""
    begun = await begin(http, side)
    assert (await patch(http, begun.path, fragment(begun, CANDIDATE, level=level), **begun.tag)).status_code == 204


@pytest.mark.parametrize(
    "candidate",
    [
        "a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0\r\n",
        "a=candidate:1 1 udp 2122260223 5fe6f8a6-9a5c-4c2b-8a58-bd4c7e7d8f60.local 61764 typ host\r\n",
        "a=candidate:1 1 udp 2122260223 nowhere.example 61764 typ host\r\n",
        "a=candidate:1 2 udp 2122260222 192.0.2.1 61765 typ host\r\n",
    ],
    ids=["tcp", "mdns name", "name", "second component"],
)
async def test_candidates_that_cannot_be_used_are_left_out_silently(
    http: httpx.AsyncClient, side: Side, candidate: str
) -> None:
    """WHIP 4.3.2, WHEP 4.4.2: a transport that is not supported, an address that is not resolved: the rest of the
    request goes on."""
    begun = await begin(http, side)
    assert (await patch(http, begun.path, fragment(begun, candidate, CANDIDATE), **begun.tag)).status_code == 204


async def test_what_is_no_fragment_is_refused(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.3.1, WHEP 4.4.1: 4xx for another content type or a malformed fragment; RFC 5789, section 2.2: 415 names
    the types that are taken by Accept-Patch. WHEP 4.2.2: an answer belongs to a counter-offer, which there was not."""
    begun = await begin(http, side)
    for kind in ("text/plain", "application/sdp", ""):
        headers = {"Content-Type": kind, **begun.tag}
        answer = await http.patch(begun.path, content=fragment(begun, CANDIDATE), headers=headers)
        is_problem(answer, 415)
        assert answer.headers["accept-patch"] == FRAGMENT
    for wrong in ("", "nothing of it", "a=candidate:1 1 udp\r\n", CANDIDATE.replace("61764", "99999")):
        is_problem(await patch(http, begun.path, wrong, **begun.tag), 400)
    assert (await http.get(begun.path)).status_code == 204


async def test_the_entity_tag_is_a_strong_one_and_nobody_elses(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.3.1, WHEP 4.4.1: it names the ICE session, is in the 201, strong (RFC 9110, section 8.8.3), and unique."""
    tags = [(await begin(http, side)).created.headers["etag"] for _ in range(2)]
    assert tags[0] != tags[1] and all(re.fullmatch('"[^"]+"', tag) for tag in tags)


async def test_a_patch_names_the_ice_session_that_it_is_for(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.3.1, WHEP 4.4.1 (RFC 6585, section 3): 428 where the entity tag is missing, 412 where it is another's."""
    begun = await begin(http, side)
    body = fragment(begun, CANDIDATE)
    is_problem(await patch(http, begun.path, body), 428)
    is_problem(await patch(http, begun.path, body, **{"If-Match": '"another"'}), 412)
    assert (await patch(http, begun.path, body, **begun.tag)).status_code == 204


@pytest.mark.parametrize("any_session", ["*", '"*"'], ids=["as the text has it", "as its figure has it"])
async def test_new_credentials_restart_ice(http: httpx.AsyncClient, side: Side, any_session: str) -> None:
    """WHIP 4.3.3, WHEP 4.4.3: a restart comes with If-Match "*" and is answered with 200, the relay's new credentials,
    all its candidates and a new entity tag; RFC 8840, section 9.2, has the fragment's grammar. The former tag is out of
    date from then on."""
    async with connected(http, side) as begun:
        first, mid = sections(begun.sdp)[0].splitlines()[0], lines(begun.sdp, "mid")[0]
        head = f"a=group:{lines(begun.sdp, 'group')[0]}\r\n{first}\r\na=mid:{mid}\r\n{NEW}"
        answer = await patch(http, begun.path, head + CANDIDATE, **{"If-Match": any_session})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].partition(";")[0] == FRAGMENT
        assert answer.headers["etag"] != begun.created.headers["etag"]
        for name in ("ice-ufrag", "ice-pwd"):
            (new,) = lines(answer.text, name)
            assert new not in lines(begun.created.text, name)
        assert lines(answer.text, "candidate") and lines(answer.text, "mid") == [mid]
        is_problem(await patch(http, begun.path, fragment(begun, CANDIDATE), **begun.tag), 412)
        later = {"If-Match": answer.headers["etag"]}
        assert (await patch(http, begun.path, head + CANDIDATE, **later)).status_code == 204


async def test_a_restart_that_cannot_be_ends_no_session(http: httpx.AsyncClient) -> None:
    """WHIP 4.3.3, WHEP 4.4.3: an error, while the existing ICE session is kept and media go on."""
    path = await endpoint(http, WHIP)
    publisher = await Peer(http).publish(path, MovingVideo())
    watcher = await Peer(http).watch(path.replace("whip", "whep") + "?view=original", ("video",))
    try:
        await until(lambda: watcher.frames)
        answer = await patch(
            http, publisher.location, "a=ice-ufrag:ysXw\r\na=end-of-candidates\r\n", **{"If-Match": "*"}
        )
        is_problem(answer, 400, 422)
        before = len(watcher.frames)
        await until(lambda: len(watcher.frames) > before + 5)
    finally:
        await watcher.close()
        await publisher.close()


async def test_a_call_without_candidates_in_the_offer_is_trickled(http: httpx.AsyncClient) -> None:
    """WHIP 4.3.2, WHEP 4.4.2 (RFC 8863): the offer may have no candidates at all; they come by PATCH, or the client's
    own checks tell where it is."""
    peer = Peer(http)
    peer.pc.addTrack(MovingVideo())
    description = await peer.pc.createOffer()
    path = await endpoint(http, WHIP)
    await peer.pc.setLocalDescription(description)
    gathered = peer.pc.localDescription.sdp
    bare = "".join(
        line for line in gathered.splitlines(True) if not line.startswith(("a=candidate", "a=end-of-candidates"))
    )
    created = await post(http, path, bare)
    assert created.status_code == 201
    begun = Begun(created, bare)
    candidates = [f"a=candidate:{value}\r\n" for value in lines(gathered, "candidate")]
    assert (await patch(http, begun.path, fragment(begun, *candidates), **begun.tag)).status_code == 204
    await peer.pc.setRemoteDescription(RTCSessionDescription(created.text, "answer"))
    await until(lambda: peer.pc.connectionState == "connected")
    await peer.close()


async def test_patches_are_limited(serve: Serve) -> None:
    """WHIP 5, WHEP 5: sessions limit PATCH requests, and the candidates that these bring."""
    http = serve(max_patches=1, max_candidates=2)
    begun = await begin(http, WHIP)
    many = [CANDIDATE.replace("61764", str(port)) for port in (61764, 61765, 61766)]
    is_problem(await patch(http, begun.path, fragment(begun, *many), **begun.tag), 429)
    is_problem(await patch(http, begun.path, fragment(begun), **begun.tag), 429)
    assert (await post(http, await endpoint(http, WHIP), await offer("sendonly"))).status_code == 201
