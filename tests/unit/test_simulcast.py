"""Offers of several streams of one picture: which one is taken, and how the answer says so."""

from __future__ import annotations

import pytest

from server.media.negotiation import Offer, common_sections
from server.media.simulcast import STREAM_IDS, accept, best_streams

# As Chromium offers addTransceiver(track, {sendEncodings: [{rid: "q", …}, {rid: "h", …}, {rid: "f"}]}).
OFFER = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n"
    "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\na=setup:actpass\r\na=mid:0\r\n"
    "a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n"
    "a=extmap:9 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
    "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"
    "a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n"
    "a=sendonly\r\na=msid:- 8b33\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
    "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\n"
    "a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
    "a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send q;h;f\r\n"
)


def offered(streams: str, **restrictions: str) -> dict[str, str]:
    names = [name for group in streams.split(";") for name in group.lstrip("~").split(",")]
    lines = [f"a=rid:{name} send {restrictions.get(name, '')}".rstrip() for name in names]
    return best_streams("\r\n".join(["v=0", "m=video 9 X 96", "a=mid:v", *lines, f"a=simulcast:send {streams}"]))


@pytest.mark.parametrize(
    ("streams", "restrictions", "best"),
    [
        ("q;h;f", {}, "f"),
        ("low;mid;hi", {}, "hi"),
        ("0;1;2", {}, "0"),  # the offerer's order is that of its preference
        ("a;b", {"a": "max-width=640;max-height=360", "b": "pt=96;max-width=1280;max-height=720"}, "b"),
        ("f;b", {"f": "max-br=100000", "b": "max-br=2000000"}, "b"),
        ("a;b", {"a": "max-width=640;max-height=360"}, "b"),
        ("a,c;b", {"c": "max-width=99", "b": "max-width=oops"}, "a"),
        ("~f;b", {}, "b"),
    ],
)
def test_the_best_stream_is_taken(streams: str, restrictions: dict[str, str], best: str) -> None:
    assert offered(streams, **restrictions) == {"v": best}


def test_what_is_no_simulcast_is_left_as_it_is() -> None:
    for lines in ("a=simulcast:recv a;b", "a=simulcast:send", "a=simulcast:", "a=rid", "a=simulcast:send x;y"):
        assert best_streams(f"m=video 9 X 96\r\na=mid:0\r\na=rid:a send\r\na=rid:b recv\r\n{lines}") == {}


def test_the_answer_takes_one_stream() -> None:
    assert (
        accept("a=mid:0\r\na=mid:1\r\n", {"1": "f"}) == "a=mid:0\r\na=mid:1\r\na=rid:f recv\r\na=simulcast:recv f\r\n"
    )


def test_an_offer_of_chromium_s() -> None:
    (section,) = common_sections(Offer.parse(OFFER), 2_000_000)
    assert section.stream == "f"
    assert [section.extension(uri) for uri in STREAM_IDS] == [10, 11]
    (plain,) = common_sections(Offer.parse(OFFER.replace("a=simulcast", "a=x")), 2_000_000)
    assert plain.stream is None and plain.extension(STREAM_IDS[0]) is None
