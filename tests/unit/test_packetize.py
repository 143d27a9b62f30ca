"""RTP packets of one watcher's stream."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import av
import pytest
from aiortc import RTCRtpHeaderExtensionParameters
from aiortc.clock import current_ntp_time
from aiortc.codecs import HEADER_EXTENSIONS
from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import vp8_depayload
from aiortc.rtp import HeaderExtensionsMap, RtpPacket, pack_header_extensions, unpack_header_extensions, unwrap_rtx

from benchmarks.shared.peers import numbered_frame
from server.media.negotiation import PLAYOUT_DELAY
from server.media.send import packetize
from server.media.send.bitrate import Bitrates
from server.media.send.encoder import Codec, VideoEncoder
from server.media.send.packetize import HEADER, PADDING, RtpStream, packetizer
from server.media.send.playout import AS_NEEDED, AT_ONCE
from server.media.transport_cc import URI
from tests.unit.sections import RTX, VP8, section

EXTENSIONS = HeaderExtensionsMap()
NUMBERED = RTCRtpHeaderExtensionParameters(id=5, uri=URI)
EXTENSIONS.configure(SimpleNamespace(headerExtensions=[*HEADER_EXTENSIONS["video"], NUMBERED]))


def read(packets: list[bytes]) -> list[RtpPacket]:
    return [RtpPacket.parse(one, EXTENSIONS) for one in packets]


@pytest.mark.parametrize(("codec", "encoder"), [("VP8", "libvpx"), ("H264", "libx264")])
def test_payloads_hold_the_frame(codec: Codec, encoder: str) -> None:
    packet = VideoEncoder(encoder, 320, 180, Bitrates()).encode(numbered_frame(7, 320, 180), 2_000_000)
    assert packet is not None
    payloads, timestamp = packetizer(codec)(packet)
    assert timestamp == 21000 and max(map(len, payloads)) <= 1300
    depayload, decoder = (vp8_depayload, "vp8") if codec == "VP8" else (h264_depayload, "h264")
    again = av.Packet(b"".join(map(depayload, payloads)))
    again.pts, again.time_base = 0, Fraction(1, 90000)
    context = av.CodecContext.create(decoder, "r")
    assert len(context.decode(again) + context.decode(None)) == 1


def test_a_frame_leaves_as_packets_of_one_time() -> None:
    stream, before = RtpStream(section(VP8)), current_ntp_time()
    assert stream.sent is None
    packets = read(stream.pack([b"one", b"two"], 3000)) + read(stream.pack([b"three"], 6000))
    assert [packet.payload for packet in packets] == [b"one", b"two", b"three"]
    assert [packet.marker for packet in packets] == [0, 1, 1]
    first, second, third = packets
    assert [packet.sequence_number - first.sequence_number for packet in packets] == [0, 1, 2]
    assert first.timestamp == second.timestamp == (third.timestamp - 3000) & 0xFFFFFFFF
    assert {(packet.ssrc, packet.payload_type) for packet in packets} == {(stream.ssrc, VP8.payloadType)}
    assert {packet.extensions.mid for packet in packets} == {"0"}
    since = (first.extensions.abs_send_time - (before >> 14)) & 0xFFFFFF
    assert since < 1 << 18  # a second
    assert (stream.packets, stream.octets, stream.sent, stream.rtp) == (3, 11, 6000, third.timestamp)


@pytest.mark.parametrize("repairs", [False, True])
def test_lost_packets_are_sent_again(repairs: bool) -> None:
    stream = RtpStream(section(VP8, RTX) if repairs else section(VP8))
    sent = [read(stream.pack([b"%d" % number], 3000 * number))[0] for number in range(200)]
    assert stream.repeat((sent[0].sequence_number - 1) & 0xFFFF) is None  # never sent
    again = read([stream.repeat(sent[number].sequence_number) for number in (5, 6)])
    if repairs:
        assert {(packet.payload_type, packet.ssrc) for packet in again} == {(RTX.payloadType, stream.repair_ssrc)}
        assert again[1].sequence_number == again[0].sequence_number + 1
        again = [unwrap_rtx(packet, VP8.payloadType, stream.ssrc) for packet in again]
    assert [packet.sequence_number for packet in again] == [sent[5].sequence_number, sent[6].sequence_number]
    assert [(packet.payload, packet.timestamp) for packet in again] == [
        (one.payload, one.timestamp) for one in sent[5:7]
    ]
    assert {(packet.payload_type, packet.ssrc) for packet in again} == {(VP8.payloadType, stream.ssrc)}
    assert stream.packets == 200


def test_every_packet_has_a_number_on_the_connection_where_the_watcher_speaks_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[tuple[int, int | None]] = []

    def number(size: int, cluster: int | None) -> int:
        given.append((size, cluster))
        return len(given)

    spoken = section(VP8, RTX)
    spoken = replace(spoken, extensions=(*spoken.extensions, NUMBERED))
    with monkeypatch.context() as now:
        now.setattr(packetize, "current_ntp_time", lambda: 0xFFFFFFFFFFFF)  # looks like a number
        stream = RtpStream(spoken, number)
    built = []

    def build(values: list[tuple[int, bytes]]) -> tuple[int, bytes]:
        built.append(values)
        return pack_header_extensions(values)

    with monkeypatch.context() as counted:
        counted.setattr(packetize, "pack_header_extensions", build)
        first = stream.pack([b"one", b"two"], 3000, end=False)
    assert len(built) == 1  # for a lot that leaves at once, but for the number
    packets = read([*first, *stream.pack([b"three"], 3000), stream.repeat(1 + read(first)[0].sequence_number)])
    padding = RtpPacket.parse(stream.padding(7), EXTENSIONS)
    assert [one.extensions.transport_sequence_number for one in (*packets, padding)] == [1, 2, 3, 4, 5]
    assert [one.marker for one in packets] == [0, 0, 1, 0]
    assert (padding.payload, padding.padding_size, padding.payload_type) == (b"", PADDING, RTX.payloadType)
    assert padding.sequence_number == packets[-1].sequence_number + 1 and padding.ssrc == stream.repair_ssrc
    assert given[-1] == (HEADER + PADDING, 7) and {cluster for _, cluster in given[:-1]} == {None}
    assert stream.packets == 3  # of media


@pytest.mark.parametrize("id_", [4, 15])  # headers of one byte, and of two (RFC 8285)
def test_every_packet_says_how_long_frames_may_be_held_back(id_: int) -> None:
    spoken = section(VP8, RTX)
    delayed = RTCRtpHeaderExtensionParameters(id=id_, uri=PLAYOUT_DELAY)
    numbers = iter(range(1, 9))
    stream = RtpStream(replace(spoken, extensions=(*spoken.extensions, NUMBERED, delayed)), lambda *_: next(numbers))

    def said(packet: bytes) -> dict[int, bytes]:
        profile, length = struct.unpack_from("!HH", packet, 12)
        return dict(unpack_header_extensions(profile, packet[16 : 16 + 4 * length]))

    stream.playout = AT_ONCE
    (first,) = stream.pack([b"one"], 3000)
    stream.playout = AS_NEEDED
    again, (second,), padding = (
        stream.repeat(read([first])[0].sequence_number),
        stream.pack([b"two"], 6000),
        stream.padding(1),
    )
    assert again is not None
    assert [said(packet)[id_] for packet in (first, again, second, padding)] == [AT_ONCE, *[AS_NEEDED] * 3]
    assert [said(packet)[5] for packet in (first, again, second, padding)] == [bytes((0, n)) for n in (1, 2, 3, 4)]
    assert PLAYOUT_DELAY not in {one.uri for one in spoken.extensions}
    (plain,) = RtpStream(spoken).pack([b"one"], 3000)
    assert id_ not in said(plain)
