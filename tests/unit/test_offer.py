from __future__ import annotations

import pytest

from server.media.negotiation import Fragment, InvalidFragment, InvalidOffer, Offer

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


@pytest.mark.parametrize("place", ["192.0.2.9 99999999", "192.0.2.9 0", "nowhere 51000", "192.0.2.9 port"])
def test_candidates_that_cannot_be_are_left_out_or_refused(place: str) -> None:
    line = f"a=candidate:7 1 udp 1 {place} typ host\r\n"
    assert place not in Offer.parse(offer(section() + line)).sdp
    with pytest.raises(InvalidFragment, match="cannot be read"):
        Fragment.parse(line)


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
    ],
)
def test_what_is_not_an_offer_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidOffer, match=message):
        Offer.parse(text)


def test_a_fragment_gives_its_candidates() -> None:
    fragment = Fragment.parse(section() + "a=end-of-candidates\r\n")
    assert fragment.ufrag == "abcd" and fragment.complete
    assert [candidate.ip for candidate in fragment.candidates] == ["192.0.2.5"]
    assert Fragment.parse("a=end-of-candidates\r\n") == Fragment(None, (), True)


@pytest.mark.parametrize("text", ["", "v=0\r\n", "a=candidate:1 1 udp x 192.0.2.5 51000 typ host", "a=candidate:1\r\n"])
def test_what_is_not_a_fragment_is_refused(text: str) -> None:
    with pytest.raises(InvalidFragment):
        Fragment.parse(text)
