"""Offers as clients of others write them, shortened: what in them is unlike a Chromium's or an aiortc's."""

from __future__ import annotations

from server.media.negotiation import Offer, common_sections

PRINT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)
ICE = ["a=ice-ufrag:abcd1234", "a=ice-pwd:abcdefghijklmnopqrstuvwx"]

# One fingerprint for the whole session, which itself is sendrecv; names instead of addresses, RTCP's and TCP's among
# them; extensions that go one way; red, ulpfec and retransmissions of codecs that the relay does not speak.
FIREFOX = [
    "v=0",
    "o=mozilla...THIS_IS_SDPARTA-99.0 4487890170348179053 0 IN IP4 0.0.0.0",
    "s=-",
    "t=0 0",
    "a=sendrecv",
    PRINT,
    "a=group:BUNDLE 0",
    "a=ice-options:trickle",
    "a=msid-semantic:WMS *",
    "m=video 9 UDP/TLS/RTP/SAVPF 120 124 121 125 123 122 119",
    "c=IN IP4 0.0.0.0",
    "a=candidate:0 1 UDP 2122187007 ce450071-e130-4117-87cd-28f096c6d56b.local 49181 typ host",
    "a=candidate:2 1 TCP 2105458943 ce450071-e130-4117-87cd-28f096c6d56b.local 9 typ host tcptype active",
    "a=candidate:0 2 UDP 2122187006 ce450071-e130-4117-87cd-28f096c6d56b.local 46396 typ host",
    "a=sendonly",
    "a=end-of-candidates",
    "a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid",
    "a=extmap:4 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "a=extmap:6/recvonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    "a=extmap-allow-mixed",
    "a=fmtp:120 max-fs=12288;max-fr=60",
    "a=fmtp:124 apt=120",
    "a=fmtp:125 apt=121",
    "a=fmtp:119 apt=122",
    *ICE,
    "a=mid:0",
    "a=rtcp:46396 IN IP4 ce450071-e130-4117-87cd-28f096c6d56b.local",
    "a=rtcp-fb:120 nack",
    "a=rtcp-fb:120 nack pli",
    "a=rtcp-mux",
    "a=rtcp-rsize",
    "a=rtpmap:120 VP8/90000",
    "a=rtpmap:124 rtx/90000",
    "a=rtpmap:121 VP9/90000",
    "a=rtpmap:125 rtx/90000",
    "a=rtpmap:123 ulpfec/90000",
    "a=rtpmap:122 red/90000",
    "a=rtpmap:119 rtx/90000",
    "a=setup:actpass",
    "a=ssrc:1452258450 cname:{62961dc9-c12e-4cea-a5b1-328eeb92a36c}",
    "a=ssrc:1156443259 cname:{62961dc9-c12e-4cea-a5b1-328eeb92a36c}",
    "a=ssrc-group:FID 1452258450 1156443259",
]
# A server in DTLS without candidates, which sends H.264 of plain Baseline and names a retransmission that it lacks.
FFMPEG = [
    "v=0",
    "o=FFmpeg 4489045141692799359 2 IN IP4 127.0.0.1",
    "s=FFmpegPublishSession",
    "t=0 0",
    "a=group:BUNDLE 0 1",
    "a=msid-semantic: WMS",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    "c=IN IP4 0.0.0.0",
    *ICE,
    PRINT,
    "a=setup:passive",
    "a=mid:0",
    "a=sendonly",
    "a=rtcp-mux",
    "a=rtpmap:111 opus/48000/2",
    "a=ssrc:2289568877 cname:FFmpeg",
    "m=video 9 UDP/TLS/RTP/SAVPF 106 105",
    "c=IN IP4 0.0.0.0",
    *ICE,
    PRINT,
    "a=setup:passive",
    "a=mid:1",
    "a=sendonly",
    "a=rtcp-mux",
    "a=rtcp-rsize",
    "a=rtpmap:106 H264/90000",
    "a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42000c",
    "a=rtcp-fb:106 nack",
    "a=rtpmap:105 rtx/90000",
    "a=fmtp:105 apt=106",
]


def test_firefox() -> None:
    offer = Offer.parse("\r\n".join(FIREFOX) + "\r\n")
    assert offer.sends == {"video"} and not offer.receives
    assert offer.withheld, "it has addresses that only its own checks will show"
    (video,) = common_sections(offer, 1_000_000)
    assert [(one.payloadType, one.mimeType) for one in video.codecs] == [(120, "video/VP8"), (124, "video/rtx")]
    assert video.dtls.fingerprints[0].algorithm == "sha-256" and video.dtls_role == "client"
    assert video.repair_ssrcs == {1156443259: 1452258450} and video.repair_type == 124


def test_ffmpeg() -> None:
    offer = Offer.parse("\r\n".join(FFMPEG) + "\r\n")
    assert offer.sends == {"audio", "video"} and not offer.withheld
    audio, video = common_sections(offer, 1_000_000)
    assert audio.dtls_role == video.dtls_role == "client", "FFmpeg is the server"
    assert video.payload_type == 106 and audio.payload_type == 111
