"""What becomes of a receiver's packets, against aiortc's own way. A failure here means: aiortc has changed."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator

import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver
from aiortc.codecs import CODECS
from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtp import RtpPacket, wrap_rtx
from server.media.aiortc_private import private, set_private

from server.media import aiortc_inbound as seam
from server.media.receive.rtp import Packet

VP8 = next(codec for codec in CODECS["video"] if codec.name == "VP8")
RTX = next(c for c in CODECS["video"] if c.name == "rtx" and c.parameters["apt"] == VP8.payloadType)
H264 = next(codec for codec in CODECS["video"] if codec.name == "H264")


@pytest.fixture
async def receiver() -> AsyncIterator[RTCRtpReceiver]:
    pc = RTCPeerConnection()
    receiver = pc.addTransceiver("video", "recvonly").receiver
    private(receiver, "codecs").update({codec.payloadType: codec for codec in (VP8, RTX, H264)})
    private(receiver, "rtx_ssrc")[8] = 7
    yield receiver
    await pc.close()


def packet(number: int, payload: bytes = b"\x10\x01x", ssrc: int = 7, kind: int = VP8.payloadType) -> RtpPacket:
    return RtpPacket(kind, 1, number, 3000 * number & 0xFFFFFFFF, ssrc, payload)


def ours(packet: RtpPacket) -> Packet:
    return Packet(packet.serialize(), 5.0, None)


async def test_the_receiver_has_the_parts_that_are_used(receiver: RTCRtpReceiver) -> None:
    assert private(receiver, "remote_streams") == {} and isinstance(private(receiver, "rtcp_ssrc"), int)
    assert isinstance(private(receiver, "remote_bitrate_estimator"), RemoteBitrateEstimator)
    handle = inspect.getsource(RTCRtpReceiver._handle_rtp_packet)
    parts = ("feed bitrate estimator", "keep track of sources", "check the codec is known", "feed RTCP statistics")
    more = ("unwrap retransmission packet", "send NACKs for any missing", "parse codec-specific information")
    comments = [line.strip(" #\n") for line in handle.splitlines() if line.strip().startswith("#")]
    for part in (*parts, *more):
        assert any(part in comment for comment in comments), part
    assert len(comments) == 13  # nothing more is done by it


async def test_packets_are_counted_and_delivered_as_by_aiortc(receiver: RTCRtpReceiver) -> None:
    """Random loss, order, codecs, retransmissions and broken payloads."""
    rng, delivered, theirs = random.Random(3), [], []

    class Buffer:
        def add(self, packet: RtpPacket) -> tuple[bool, None]:
            theirs.append(packet)
            return False, None

    set_private(receiver, "jitter_buffer", Buffer())
    set_private(receiver, "nack_generator", None)
    other = RTCPeerConnection()
    twin = other.addTransceiver("video", "recvonly").receiver
    private(twin, "codecs").update(private(receiver, "codecs"))
    private(twin, "rtx_ssrc").update(private(receiver, "rtx_ssrc"))
    inbound = seam.Inbound(twin, lambda packet, codec: delivered.append((packet, codec)), None)
    for number in range(65000, 66500):
        payload = rng.choice([b"\x10\x01x", b"\x90\x80\x81\x02y", b"\x90", b"", b"\x00z"])
        one = packet(number & 0xFFFF, payload, kind=rng.choice([VP8.payloadType] * 4 + [H264.payloadType, 33]))
        if rng.random() < 0.2:
            one = wrap_rtx(one, RTX.payloadType, number & 0xFFFF, rng.choice([8, 9]))
        if rng.random() < 0.1:
            continue
        inbound.take(ours(one))
        await receiver._handle_rtp_packet(RtpPacket.parse(one.serialize()), 0)

    def told(packet: Packet | RtpPacket) -> tuple:
        return packet.sequence_number, packet.timestamp, packet.payload_type, packet.ssrc, packet._data, packet.payload

    assert [told(packet) for packet, _ in delivered] == [told(packet) for packet in theirs]
    assert {codec.name for _, codec in delivered} == {"VP8", "H264"}
    streams, expected = private(twin, "remote_streams"), private(receiver, "remote_streams")
    assert streams.keys() == expected.keys()
    for ssrc, stream in streams.items():
        for name in ("packets_received", "packets_expected", "packets_lost", "max_seq", "fraction_lost"):
            assert getattr(stream, name) == getattr(expected[ssrc], name)
    await other.close()


async def test_a_disabled_receiver_takes_nothing(receiver: RTCRtpReceiver) -> None:
    receiver._enabled = False
    seam.Inbound(receiver, lambda packet, codec: pytest.fail("delivered"), None).take(ours(packet(1)))
    assert private(receiver, "remote_streams") == {}


@pytest.mark.parametrize("delay", [0.0, 0.004])
async def test_the_publisher_is_granted_what_aiortc_grants(
    receiver: RTCRtpReceiver, monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    """delay: seconds that each frame comes later than the one before, between the 5th and the 10th second."""
    granted: list[int] = []
    monkeypatch.setattr(seam, "pack_remb_fci", lambda bitrate, ssrcs: granted.append(bitrate) or b"")
    set_private(receiver, "rtcp_ssrc", 1)

    async def send(packet: object) -> None: ...

    receiver._send_rtcp = send
    inbound, theirs, expected, late = (
        seam.Inbound(receiver, lambda packet, codec: None, RemoteBitrateEstimator()),
        RemoteBitrateEstimator(),
        [],
        0.0,
    )
    rng = random.Random(5)
    for frame in range(25 * 30):
        late += delay if 125 <= frame < 250 else 0.0
        count = rng.randrange(2, 9)
        for index in range(count):
            sent = frame / 25 + 0.0003 * index
            now = sent + 0.02 + late + rng.random() * 0.0005
            one = packet(0, bytes(1200))
            taken = ours(one)
            taken.arrived = now
            taken.marker, taken.abs_send_time = int(index == count - 1), int(sent * (1 << 18)) & 0xFFFFFF
            inbound.take(taken)
            answer = theirs.add(round(1000 * now), taken.abs_send_time, 1200, 7)
            expected += [answer[0]] if answer else []
    await asyncio.sleep(0)
    assert len(granted) <= len(expected)  # aiortc says the same thing again with every packet of a congested path
    assert granted[-1] == pytest.approx(expected[-1], rel=0.15)
    assert min(granted) == pytest.approx(min(expected), rel=0.15)
