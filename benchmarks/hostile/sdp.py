"""Offers and fragments as peers write them, with lines dropped, doubled, swapped and filled with lies."""

from __future__ import annotations

import re
from random import Random

from benchmarks.hostile.chance import digits, odd_text

_FINGERPRINT = ":".join(f"{7 * n % 256:02X}" for n in range(32))
_SESSION = "v=0\r\no=- 46117317 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
_CHROMIUM_HEAD = "a=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS stream\r\n"
_TRANSPORT = (
    "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:Tq5+\r\na=ice-pwd:5yGVZbXvS2mpc0jUN1+WkYxq\r\n"
    "a=ice-options:trickle\r\na=fingerprint:sha-256 " + _FINGERPRINT + "\r\na=setup:actpass\r\n"
)
_CANDIDATES = (
    "a=candidate:3098175849 1 udp 2113937151 0f0a6fd8-7c1e-4e2a-9d0f-0d5b6a0f2b11.local 55122 typ host generation 0 "
    "network-cost 999\r\na=candidate:1 1 udp 2113937151 127.0.0.1 55123 typ host\r\n"
    "a=candidate:2 1 tcp 1518280447 127.0.0.1 9 typ host tcptype active\r\n"
    "a=candidate:4 1 udp 1677729535 127.0.0.1 60000 typ srflx raddr 0.0.0.0 rport 0\r\n"
)
_AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\n"
    + _TRANSPORT
    + "a=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n"
    "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n"
    "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na={direction}\r\na=msid:stream audio\r\na=rtcp-mux\r\n"
    "a=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n"
    "a=fmtp:111 minptime=10;useinbandfec=1\r\n"
    "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    "a=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\na=rtpmap:110 telephone-event/48000\r\n"
    "a=rtpmap:126 telephone-event/8000\r\na=ssrc:2231631 cname:nAmE\r\na=ssrc:2231631 msid:stream audio\r\n"
)
_VIDEO = (
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 108 109 98 99 45 46 114 115 116\r\n"
    + _TRANSPORT
    + _CANDIDATES
    + "a=mid:1\r\na=extmap:14 urn:ietf:params:rtp-hdrext:toffset\r\n"
    "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n"
    "a=extmap:13 urn:3gpp:video-orientation\r\n"
    "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n"
    "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"
    "a=extmap:11/sendonly urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\na={direction}\r\n"
    "a=msid:stream video\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\n"
    "a=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n"
    "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack pli\r\n"
    "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\na=rtpmap:103 rtx/90000\r\n"
    "a=fmtp:103 apt=102\r\na=rtpmap:108 H264/90000\r\n"
    "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\na=rtpmap:109 rtx/90000\r\n"
    "a=fmtp:109 apt=108\r\na=rtpmap:98 VP9/90000\r\na=fmtp:98 profile-id=0\r\na=rtpmap:99 rtx/90000\r\n"
    "a=fmtp:99 apt=98\r\n"
    "a=rtpmap:45 AV1/90000\r\na=fmtp:45 level-idx=5;profile=0;tier=0\r\na=rtpmap:46 rtx/90000\r\na=fmtp:46 apt=45\r\n"
    "a=rtpmap:114 red/90000\r\na=rtpmap:115 rtx/90000\r\na=fmtp:115 apt=114\r\na=rtpmap:116 ulpfec/90000\r\n"
    "a=ssrc-group:FID 3409705383 1180234123\r\na=ssrc:3409705383 cname:nAmE\r\na=ssrc:3409705383 msid:stream video\r\n"
    "a=ssrc:1180234123 cname:nAmE\r\na=ssrc:1180234123 msid:stream video\r\n"
)
_PLAIN_VIDEO = (
    "m=video 58300 UDP/TLS/RTP/SAVPF 97 98 99 100\r\nc=IN IP4 127.0.0.1\r\na={direction}\r\n"
    "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=mid:0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=rtcp-mux\r\n"
    "a=ssrc-group:FID 1 2\r\na=ssrc:1 cname:c\r\na=ssrc:2 cname:c\r\na=rtpmap:97 VP8/90000\r\na=rtcp-fb:97 nack\r\n"
    "a=rtpmap:98 rtx/90000\r\na=fmtp:98 apt=97\r\na=rtpmap:99 H264/90000\r\n"
    "a=fmtp:99 packetization-mode=1;profile-level-id=42e01f\r\na=rtpmap:100 rtx/90000\r\na=fmtp:100 apt=99\r\n"
    "a=candidate:1 1 udp 2130706431 127.0.0.1 58300 typ host\r\na=end-of-candidates\r\na=ice-ufrag:9WZt\r\n"
    "a=ice-pwd:JpUnvbqBVF2Jr9WCSxXj3q\r\na=fingerprint:sha-256 " + _FINGERPRINT + "\r\na=setup:actpass\r\n"
)
OFFERS = tuple(
    _SESSION + text.replace("{direction}", direction)
    for direction in ("sendonly", "recvonly", "sendrecv")
    for text in (_CHROMIUM_HEAD + _AUDIO + _VIDEO, "a=group:BUNDLE 0\r\n" + _PLAIN_VIDEO)
)
"""Of Chromium's kind, with sound and picture, and of aiortc's, with a picture only: each publishes, watches or both."""

_LIES = """
a=rtpmap:{n} VP8/90000
a=rtpmap:{n} VP8/{m}
a=rtpmap:96 {t}
a=rtpmap:{n} rtx/90000
a=rtpmap:96 H264/90000
a=rtpmap:{n} opus/48000/{m}
a=fmtp:{n} apt={m}
a=fmtp:97 apt={m}
a=fmtp:97 apt=97
a=fmtp:103 apt=97
a=fmtp:102 profile-level-id={t}
a=fmtp:102 packetization-mode={t}
a=fmtp:96 {t}={t}
a=fmtp:{n} {t}
a=extmap:{n} urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:{n}/{t} http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:{n} {t}
a=ssrc:{n} cname:{t}
a=ssrc:{n}
a=ssrc-group:FID {n} {m}
a=ssrc-group:FID {n}
a=ssrc-group:{t}
a=ssrc-group:SIM 1 2 3 4 5 6
a=fingerprint:sha-256 {t}
a=fingerprint:md5 00:11
a=fingerprint:{t} {t}
a=fingerprint:sha-256
a=setup:{t}
a=setup:active
a=setup:passive
a=setup:holdconn
a=setup
a=candidate:{t} {n} udp {m} 127.0.0.1 {n} typ host
a=candidate:1 {n} udp 1 127.0.0.1 5000 typ host
a=candidate:1 1 {t} 1 127.0.0.1 5000 typ host
a=candidate:1 1 udp 1 {t} 5000 typ host
a=candidate:1 1 udp 1 ::1 {n} typ {t}
a=candidate:1 1 udp 1
a=candidate:1 1 udp 1 127.0.0.1 5000 typ host raddr {t} rport {n}
a=candidate:
a=end-of-candidates
a=mid:{t}
a=mid:0
a=mid
a=group:BUNDLE
a=group:BUNDLE {t}
a=group:{t} 0 1
a=group
a=rtcp-fb:{n} {t}
a=rtcp-fb:* nack {t}
a=rtcp-fb:96
a=ice-ufrag:{t}
a=ice-pwd:{t}
a=ice-ufrag
a=ice-pwd:
a=ice-lite
a=ice-options:{t}
a=inactive
a=sendonly
a=recvonly
a=sendrecv
a=rtcp:{n} {t}
a=rtcp:9 IN IP4 {t}
a=rid:{t} send
a=simulcast:send {t}
a=sctp-port:{n}
a=sctpmap:{n} {t}
a=max-message-size:{n}
c={t}
c=IN IP6 {t}
m=video {n} UDP/TLS/RTP/SAVPF 96
m=audio 9 UDP/TLS/RTP/SAVPF {n}
m={t}
m=video 9 {t} 96
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
m=video 9 UDP/TLS/RTP/SAVPF {t}
b=AS:{n}
a=msid:{t}
a=msid-semantic:{t}
a={t}
{t}
v={t}
o={t}
s={t}
t={n} {m}
a=:
a=
=
""".strip().splitlines()
_MANY = """
a=ssrc:{i} cname:c
a=rtpmap:{i} VP8/90000
a=rtpmap:96 VP8/90000
a=fmtp:96 a={i}
a=extmap:{i} urn:x:{i}
a=candidate:{i} 1 udp 1 127.0.{i} 5000 typ host
a=candidate:{i} 1 udp 1 127.0.0.1 {p} typ host
a=rtcp-fb:* nack {i}
a=fingerprint:sha-256 {i}
a=ssrc-group:FID {i} {i}
a=group:BUNDLE {i}
a=x:{i}
m=application 9 UDP/DTLS/SCTP {i}
m=video 9 UDP/TLS/RTP/SAVPF 96
a=sctpmap:{i} x
a=mid:{i}
""".strip().splitlines()


def offer(rng: Random) -> str:
    """An offer with up to eight lies; now and then it is none at all, or has thousands of lines."""
    lines = rng.choice(OFFERS).splitlines()
    for _ in range(rng.randint(0, 8)):
        _change(rng, lines)
    if rng.random() < 0.03:
        lines[rng.randrange(len(lines) + 1) :] = many(rng.choice(_MANY), rng.choice((100, 3000)))
    text = rng.choice(("\r\n", "\r\n", "\n", "\r")).join([*lines, ""])
    if rng.random() < 0.03:
        text = text[: rng.randrange(len(text) + 1)]
    return odd_text(rng) + text if rng.random() < 0.02 else text


def many(line: str, count: int) -> list[str]:
    return [line.format(i=i, p=1 + i % 65535) for i in range(count)]


def fragment(rng: Random) -> str:
    """Trickled candidates; the ufrag is mostly the one of `OFFERS`."""
    head = ["a=ice-ufrag:9WZt", "a=ice-pwd:x", "m=video 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0"]
    lines = head if rng.random() < 0.5 else []
    lines += [line for line in _CANDIDATES.splitlines() if rng.random() < 0.6]
    for _ in range(rng.randint(0, 4)):
        lies = [lie for lie in _LIES if "candidate" in lie or "ice-" in lie]
        lines.insert(rng.randrange(len(lines) + 1), _lie(rng, rng.choice(lies)))
    if rng.random() < 0.02:
        lines += many("a=candidate:{i} 1 udp 1 127.0.0.1 {p} typ host", 2000)
    for _ in range(rng.randint(0, 2)):
        _change(rng, lines)
    return rng.choice(("\r\n", "\n")).join([*lines, ""])


def _change(rng: Random, lines: list[str]) -> None:
    if not lines:
        lines.append(odd_text(rng))
        return
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(10):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at] = re.sub(r"\d+", lambda _: digits(rng), lines[at], count=1)
        case 4:
            cut = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:cut] + odd_text(rng) + lines[at][cut + 1 :]
        case 5:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        case 6:
            del lines[min(at, other) : max(at, other)]
        case _:
            lines.insert(at, _lie(rng, rng.choice(_LIES)))


def _lie(rng: Random, line: str) -> str:
    return line.format(n=digits(rng), m=digits(rng), t=odd_text(rng))
