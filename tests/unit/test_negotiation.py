"""What is read of offers and fragments, and what is answered."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiortc import RTCPeerConnection
from aiortc.sdp import SessionDescription

from server.media import transport_cc
from server.media.aiortc_door import PeerTransport
from server.media.fragments import Fragment, InvalidFragment
from server.media.ice_connection import Network
from server.media.negotiation import (
    PLAYOUT_DELAY,
    InvalidOffer,
    Offer,
    SentStream,
    common_sections,
    write_answer,
)

SECTION = (
    "m={kind} 9 UDP/TLS/RTP/SAVPF {pt}\r\nc=IN IP4 0.0.0.0\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:{pwd}\r\n"
    "a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=mid:{mid}\r\na={direction}\r\n"
    "a=rtpmap:{pt} {codec}\r\n"
    "a=candidate:1 1 udp 2113937151 4f1c1f7e-93b9-4c4c-a2d5-5f8f9f7d3d4e.local 51000 typ host\r\n"
    "a=candidate:2 1 udp 2113937151 192.0.2.5 51000 typ host\r\n"
)


def section(kind: str = "video", direction: str = "sendonly", mid: str = "0") -> str:
    codec = {"video": "VP8/90000", "audio": "opus/48000/2"}[kind]
    fingerprint = ":".join(["AB"] * 32)
    return SECTION.format(
        kind=kind, pt=96, pwd="p" * 22, fingerprint=fingerprint, mid=mid, direction=direction, codec=codec
    )


def offer(*sections: str) -> str:
    return "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" + "".join(sections)


def test_what_an_offer_sends_and_receives() -> None:
    parsed = Offer.parse(offer(section("video", "sendonly", "0"), section("audio", "recvonly", "1")))
    assert (parsed.sends, parsed.receives) == ({"video"}, {"audio"})
    both = Offer.parse(offer(section("audio", "sendrecv")))
    assert both.sends == both.receives == {"audio"}
    assert not Offer.parse(offer(section("audio", "inactive"))).sends


def test_candidates_behind_mdns_names_are_left_out() -> None:
    sdp = Offer.parse(offer(section())).sdp
    assert ".local" not in sdp and "192.0.2.5" in sdp


@pytest.mark.parametrize("place", ["192.0.2.9 99999999", "192.0.2.9 0", "192.0.2.999 51000", "192.0.2.9 port"])
def test_candidates_that_cannot_be_are_left_out_or_refused(place: str) -> None:
    line = f"a=candidate:7 1 udp 1 {place} typ host\r\n"
    assert place not in Offer.parse(offer(section() + line)).sdp
    with pytest.raises(InvalidFragment, match="cannot be read"):
        Fragment.parse(line)


@pytest.mark.parametrize("name", ["nowhere", "a.example", "a1.example.", "5fe6f8a6-9a5c-4c2b.local", "3com.example"])
def test_candidates_of_names_are_left_out(name: str) -> None:
    line = f"a=candidate:7 1 udp 1 {name} 51000 typ host\r\n"
    assert name not in Offer.parse(offer(section() + line)).sdp
    assert Fragment.parse(line) == Fragment(None, (), False, withheld=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with v=0"),
        ("hello", "begins with v=0"),
        ("v=0\r\n", "no media"),
        ("v=0\r\nm=video\r\n", "cannot be read"),
        (offer(section()).replace("a=rtpmap:96 VP8/90000", "a=rtpmap:ninety VP8"), "cannot be read"),
        (offer(section(), section()), "several sections"),
        (offer(section()).replace("a=fingerprint", "a=footprint"), "a=fingerprint"),
        (offer(section()).replace("a=setup", "a=upset"), "a=setup"),
        (offer(section()).replace("a=sendonly", "a=sendmany"), "direction"),
        (offer(section()).replace("a=mid:0\r\n", ""), "a=mid"),
        (offer(section("video"), section("audio")), "a=mid"),
        (offer(section("video", mid="m" * 65)), "longer than 64"),
    ],
)
def test_what_is_not_an_offer_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidOffer, match=message):
        Offer.parse(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("a=rtpmap:96 VP8/90000", "a=rtpmap:96 VP8/90000\r\na=rtpmap:300 rtx/90000\r\na=fmtp:300 apt=96"), "0 to 127"),
        (("a=rtcp-mux", "a=rtcp-mux\r\na=extmap:256 urn:ietf:params:rtp-hdrext:sdes:mid"), "1 to 255"),
        (("a=rtcp-mux", "a=rtcp-mux\r\na=extmap:0 urn:ietf:params:rtp-hdrext:sdes:mid"), "1 to 255"),
        (("a=ice-ufrag:abcd", "a=ice-ufrag:" + "a" * 257), "not valid: 4 to 256"),
        (("a=ice-ufrag:abcd", "a=ice-ufrag:äbcd"), "not valid: 4 to 256"),
        (("a=ice-pwd:", "a=ice-pwd:p p"), "not valid: 4 to 256"),
    ],
)
def test_what_packets_could_not_carry_is_named(change: tuple[str, str], message: str) -> None:
    """It would only be found once they are made: in the call."""
    with pytest.raises(InvalidOffer, match=message):
        common_sections(Offer.parse(offer(section()).replace(*change)), 1_000_000)


def test_a_fragment_gives_its_candidates() -> None:
    fragment = Fragment.parse(section() + "a=end-of-candidates\r\n")
    assert fragment.ufrag == "abcd" and fragment.complete
    assert [candidate.ip for candidate in fragment.candidates] == ["192.0.2.5"]
    assert Fragment.parse("a=end-of-candidates\r\n") == Fragment(None, (), True)


@pytest.mark.parametrize("text", ["", "v=0\r\n", "a=candidate:1 1 udp x 192.0.2.5 51000 typ host", "a=candidate:1\r\n"])
def test_what_is_not_a_fragment_is_refused(text: str) -> None:
    with pytest.raises(InvalidFragment):
        Fragment.parse(text)


# --- what both speak


def bundled(*sections: str) -> Offer:
    text = offer(*sections)
    mids = " ".join(re.findall("a=mid:(.+)\r", text))
    return Offer.parse(text.replace("t=0 0\r\n", f"t=0 0\r\na=group:BUNDLE {mids}\r\n"))


@asynccontextmanager
async def offered_by_aiortc(*kinds: str) -> AsyncIterator[str]:
    pc = RTCPeerConnection()
    for kind in kinds:
        pc.addTransceiver(kind, "sendonly")
    await pc.setLocalDescription(await pc.createOffer())
    yield pc.localDescription.sdp
    await pc.close()


def transport() -> PeerTransport:
    return PeerTransport(Network(), lambda data: None, lambda data: None, lambda: None)


async def test_the_answer_prefers_vp8_and_says_where_to_begin() -> None:
    async with offered_by_aiortc("video", "audio") as sdp:
        lines = sdp.splitlines()
    media = next(i for i, line in enumerate(lines) if line.startswith("m=video"))
    lines[media] = "m=video " + " ".join(lines[media].split()[1:3]) + " 99 100 101 102 97 98"
    rtpmaps = [line for line in lines if line.startswith("a=rtpmap:9") or line.startswith("a=rtpmap:10")]
    h264 = [line for line in rtpmaps if line.split(":")[1].split()[0] in ("99", "100", "101", "102")]
    for line in h264:  # H264 comes first in the offer
        lines.remove(line)
    first = next(i for i, line in enumerate(lines) if line.startswith("a=rtpmap:97"))
    lines[first:first] = h264
    parsed, peer = Offer.parse("\r\n".join(lines) + "\r\n"), transport()
    sections = common_sections(parsed, 1_500_000)
    assert [codec.name for codec in sections[0].codecs] == ["VP8", "rtx", "H264", "rtx", "H264", "rtx"]
    assert common_sections(parsed, 1_500_000, "H264")[0].codecs[0].name == "H264"
    answer = write_answer(parsed, sections, {"video", "audio"}, {}, peer)
    video = next(line for line in answer.splitlines() if line.startswith("m=video")).split()[3]
    assert f"a=rtpmap:{video} VP8/90000" in answer
    assert f"a=fmtp:{video} x-google-start-bitrate=1500\r\n" in answer
    assert "profile-level-id=42001f;x-google-start-bitrate=1500" in answer
    assert next(line for line in answer.splitlines() if line.startswith("m=audio")).split()[3:] == ["96"]
    assert answer.count("a=recvonly") == 2 and "a=ssrc" not in answer
    await peer.close()


@pytest.mark.parametrize("direction", ["recvonly", "sendrecv", "sendonly"])
@pytest.mark.parametrize("reports", [True, False])
async def test_who_watches_and_reports_arrivals_is_told_how_long_frames_may_be_held_back(
    direction: str, reports: bool
) -> None:
    lines = f"a=extmap:6 {PLAYOUT_DELAY}\r\n"
    if reports:
        lines += f"a=extmap:5 {transport_cc.URI}\r\na=rtcp-fb:96 transport-cc\r\n"
    parsed, peer = Offer.parse(offer(section("video", direction) + lines)), transport()
    answer = write_answer(parsed, common_sections(parsed, 1), {"video"}, {}, peer)
    assert (f"a=extmap:6 {PLAYOUT_DELAY}" in answer) == (reports and direction != "sendonly")
    await peer.close()


async def test_what_is_sent_is_told_and_the_rest_is_inactive_or_refused() -> None:
    channel = (
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n"
        f"a=ice-pwd:{'p' * 22}\r\na=fingerprint:sha-256 {':'.join(['AB'] * 32)}\r\na=setup:actpass\r\na=mid:data\r\n"
    )
    parsed = bundled(channel, section("video", "recvonly", "0"), section("audio", "recvonly", "1"))
    peer = transport()
    answer = write_answer(parsed, common_sections(parsed, 1), set(), {"video": SentStream(7, 8, "name")}, peer)
    read = SessionDescription.parse(answer)
    data, video, audio = read.media
    assert (data.port, data.rtp.muxId) == (0, "data")
    assert [(one.ssrc, one.cname) for one in video.ssrc] == [(7, "name")]  # no retransmissions were offered
    assert (video.direction, audio.direction, audio.ssrc) == ("sendonly", "inactive", [])
    assert video.msid == "name name-video"
    assert [group.items for group in read.group] == [["0", "1"]]
    await peer.close()


async def test_retransmissions_are_told_of_where_the_watcher_speaks_of_them() -> None:
    async with offered_by_aiortc("video") as sdp:
        parsed = Offer.parse(sdp)
    (video,) = common_sections(parsed, 1)
    assert video.repair_type == video.codecs[1].payloadType
    assert video.repair_ssrcs == {video.ssrcs[1]: video.ssrcs[0]}
    peer = transport()
    answer = write_answer(parsed, [video], set(), {"video": SentStream(7, 8, "name")}, peer)
    assert "a=ssrc-group:FID 7 8\r\n" in answer and "a=ssrc:8 cname:name\r\n" in answer
    await peer.close()


@pytest.mark.parametrize(("setup", "role"), [("actpass", "client"), ("active", "server"), ("passive", "client")])
def test_the_relay_takes_the_dtls_role_that_is_left(setup: str, role: str) -> None:
    (video,) = common_sections(Offer.parse(offer(section()).replace("a=setup:actpass", f"a=setup:{setup}")), 1)
    assert video.dtls_role == role


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (offer(section()).replace("a=ice-ufrag:abcd\r\n", ""), "ice-ufrag"),
        (offer(section()).replace("a=rtcp-mux\r\n", ""), "rtcp-mux"),
        (offer(section("video"), section("audio", mid="1")), "not bundled"),
        (offer(section("audio")).replace("opus/48000/2", "PCMU/8000"), "opus/48000/2"),
        (offer(section("video")).replace("VP8", "VP7"), "VP8/90000 or H264/90000"),
        (offer(section("video")).replace("VP8", "H264") + "a=fmtp:96 packetization-mode\r\n", "a=fmtp"),
    ],
)
def test_what_cannot_be_answered_is_named(wrong: str, message: str) -> None:
    with pytest.raises(InvalidOffer, match=message):
        common_sections(Offer.parse(wrong), 1)
