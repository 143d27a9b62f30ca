"""What becomes of a receiver's packets, against what aiortc's receiver makes of them."""

from __future__ import annotations

import random

from aiortc import RTCPeerConnection
from aiortc.rtp import RtcpSenderInfo, RtcpSrPacket, RtpPacket, wrap_rtx

from server.media.receive.capture import CaptureClock
from server.media.receive.depacketize import Depacketizer
from server.media.receive.reports import MOST_STREAMS, Reports
from server.media.receive.rtp import Packet
from tests.unit.sections import H264, RTX, VP8

CODECS = {codec.payloadType: codec for codec in (VP8, RTX, H264)}
REPAIRS = {8: 7}


def packet(number: int, payload: bytes = b"\x10\x01x", ssrc: int = 7, kind: int = VP8.payloadType) -> RtpPacket:
    return RtpPacket(kind, 1, number, 3000 * number & 0xFFFFFFFF, ssrc, payload)


def ours(packet: RtpPacket) -> Packet:
    return Packet(packet.serialize(), 5.0, None)


def sender_report(ssrc: int, ntp: int) -> RtcpSrPacket:
    return RtcpSrPacket(ssrc, RtcpSenderInfo(ntp, rtp_timestamp=0, packet_count=1, octet_count=1))


async def test_packets_are_counted_and_delivered_as_by_aiortc() -> None:
    """Random loss, order, codecs, retransmissions and broken payloads."""
    rng, delivered, theirs = random.Random(3), [], []

    class Buffer:
        def add(self, packet: RtpPacket) -> tuple[bool, None]:
            theirs.append(packet)
            return False, None

    pc = RTCPeerConnection()
    receiver = pc.addTransceiver("video", "recvonly").receiver
    receiver._RTCRtpReceiver__codecs.update(CODECS)
    receiver._RTCRtpReceiver__rtx_ssrc.update(REPAIRS)
    receiver._RTCRtpReceiver__jitter_buffer, receiver._RTCRtpReceiver__nack_generator = Buffer(), None
    reports = Reports(1, CaptureClock(90000), lambda report: None)
    depacketizer = Depacketizer(CODECS, REPAIRS, reports.count, delivered.append)
    for number in range(65000, 66500):
        payload = rng.choice([b"\x10\x01x", b"\x90\x80\x81\x02y", b"\x90", b"", b"\x00z"])
        one = packet(number & 0xFFFF, payload, kind=rng.choice([VP8.payloadType] * 4 + [H264.payloadType, 33]))
        if rng.random() < 0.2:
            one = wrap_rtx(one, RTX.payloadType, number & 0xFFFF, rng.choice([8, 9]))
        if rng.random() < 0.1:
            continue
        depacketizer.add(ours(one))
        await receiver._handle_rtp_packet(RtpPacket.parse(one.serialize()), 0)

    def told(packet: Packet | RtpPacket) -> tuple[object, ...]:
        return packet.sequence_number, packet.timestamp, packet.payload_type, packet.ssrc, packet.payload

    assert [(*told(one), one.data) for one in delivered] == [(*told(one), one._data) for one in theirs]
    assert {one.payload_type for one in delivered} == {VP8.payloadType, H264.payloadType}
    expected = receiver._RTCRtpReceiver__remote_streams
    assert reports.streams.keys() == expected.keys()
    for ssrc, stream in reports.streams.items():
        for name in ("packets_received", "packets_expected", "packets_lost", "max_seq", "fraction_lost"):
            assert getattr(stream, name) == getattr(expected[ssrc], name)
    await pc.close()


def test_a_report_tells_of_loss_and_of_the_last_sender_report() -> None:
    now = 10.0
    reports = Reports(1, CaptureClock(90000), lambda report: None, lambda: now)
    for number in (0, 1, 3):
        reports.count(ours(packet(number)), 90000)
    reports.receive(sender_report(9, 5 << 32))  # of a stream that has sent nothing
    (info,) = reports.report().reports
    assert (info.ssrc, info.fraction_lost, info.packets_lost, info.highest_sequence) == (7, 64, 1, 3)
    assert (info.lsr, info.dlsr) == (0, 0)
    reports.receive(sender_report(7, 0x1122334455667788))
    now = 12.5
    (info,) = reports.report().reports
    assert (info.lsr, info.dlsr, info.fraction_lost) == (0x33445566, int(2.5 * 65536), 0)


def test_reports_tell_of_no_more_streams_than_one_can() -> None:
    reports = Reports(1, CaptureClock(90000), lambda report: None)
    for ssrc in range(MOST_STREAMS + 5):
        reports.count(ours(packet(1, ssrc=ssrc)), 90000)
    assert list(reports.streams) == list(range(5, MOST_STREAMS + 5))
    assert len(bytes(reports.report())) == 8 + 24 * MOST_STREAMS
