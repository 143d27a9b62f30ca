"""The relay's RTP packets against aiortc's."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from types import SimpleNamespace

import pytest
from aiortc.rtp import HeaderExtensionsMap, RtpPacket, unwrap_rtx, wrap_rtx

from server.media.receive.rtp import Packet

SEND_TIME = 3
URIS = {
    1: "urn:ietf:params:rtp-hdrext:sdes:mid",
    SEND_TIME: "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    4: "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    6: "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
}
FIELDS = ("marker", "payload_type", "sequence_number", "timestamp", "ssrc", "payload")


def extensions_map() -> HeaderExtensionsMap:
    known = HeaderExtensionsMap()
    known.configure(SimpleNamespace(headerExtensions=[SimpleNamespace(id=id, uri=uri) for id, uri in URIS.items()]))
    return known


def made(rng: random.Random) -> RtpPacket:
    packet = RtpPacket(rng.randrange(128), rng.randrange(2), rng.randrange(1 << 16), rng.randrange(1 << 32))
    packet.ssrc, packet.payload = rng.randrange(1 << 32), rng.randbytes(rng.choice([0, 1, 2, 30]))
    packet.csrc = [rng.randrange(1 << 32) for _ in range(rng.choice([0, 0, 3]))]
    packet.padding_size = rng.choice([0, 0, 1, 7])
    values = packet.extensions
    values.mid = rng.choice([None, "0", "a name longer than sixteen"])  # which needs two-byte headers
    values.abs_send_time = rng.choice([None, rng.randrange(1 << 24)])
    values.audio_level = rng.choice([None, (True, 5)])
    values.transport_sequence_number = rng.choice([None, rng.randrange(1 << 16)])
    return packet


def test_packets_are_read_as_aiortc_reads_them() -> None:
    rng, known = random.Random(7), extensions_map()
    for _ in range(2000):
        data = made(rng).serialize(known)
        theirs, ours = RtpPacket.parse(data, known), Packet(data, 5.0, SEND_TIME)
        assert [getattr(ours, name) for name in FIELDS] == [getattr(theirs, name) for name in FIELDS]
        assert ours.abs_send_time == theirs.extensions.abs_send_time
        assert ours.size == len(theirs.payload) + theirs.padding_size
        assert Packet(data, 5.0, None).abs_send_time is None


def test_broken_packets_are_refused_with_a_value_error_or_read_as_aiortc_reads_them() -> None:
    """Of broken extensions, which aiortc refuses, only the time of sending is lost."""
    rng, known = random.Random(8), extensions_map()
    for _ in range(5000):
        data = bytearray(made(rng).serialize(known))
        data = data[: rng.randrange(len(data) + 1)]
        for _ in range(rng.randrange(3)):
            if data:
                data[rng.randrange(min(len(data), 24))] = rng.randrange(256)
        try:
            ours = Packet(bytes(data), 5.0, SEND_TIME)
        except ValueError:
            with pytest.raises((ValueError, struct.error)):
                RtpPacket.parse(bytes(data), known)
            continue
        with suppress(ValueError, struct.error):
            theirs = RtpPacket.parse(bytes(data), known)
            assert [getattr(ours, name) for name in FIELDS] == [getattr(theirs, name) for name in FIELDS]


def test_a_retransmission_holds_the_packet() -> None:
    rng, known = random.Random(9), extensions_map()
    packet = made(rng)
    data = wrap_rtx(packet, 98, 5, 77).serialize(known)
    theirs = unwrap_rtx(RtpPacket.parse(data, known), 97, packet.ssrc)
    ours = Packet(data, 5.0, SEND_TIME).repaired(97, packet.ssrc)
    assert [getattr(ours, name) for name in FIELDS] == [getattr(theirs, name) for name in FIELDS]
    assert Packet(RtpPacket(98, payload=b"x").serialize(), 5.0, None).repaired(97, 1) is None
