"""What a publisher can make the relay remember by inventing streams."""

from __future__ import annotations

from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtp import RtcpSenderInfo, RtcpSrPacket, pack_remb_fci

from server.media.receive.capture import CaptureClock
from server.media.receive.congestion import MOST_STREAMS as MOST_TOLD
from server.media.receive.congestion import GrantedBitrate
from server.media.receive.reports import MOST_STREAMS, Reports
from server.media.receive.rtp import Packet
from tests.unit.enhancer_stage import Clock


def packet(ssrc: int) -> Packet:
    data = b"\x80\x60" + (1).to_bytes(2, "big") + (90).to_bytes(4, "big") + ssrc.to_bytes(4, "big") + b"payload"
    return Packet(data, 1.0, None)


def test_reports_are_kept_of_as_many_streams_as_one_report_tells_of() -> None:
    reports = Reports(1, CaptureClock(90000), lambda data: None, Clock())
    for ssrc in range(1, 10 * MOST_STREAMS):
        reports.count(packet(ssrc), 90000)
        reports.receive(RtcpSrPacket(ssrc, RtcpSenderInfo(ssrc << 32, 0, 0, 0)))
    assert len(reports.streams) == len(reports._sender_reports) == MOST_STREAMS
    assert set(reports._sender_reports) == set(reports.streams)
    assert len(bytes(reports.report())) < 1000


def test_a_publisher_of_many_streams_is_granted_a_bitrate_all_the_same() -> None:
    estimator = RemoteBitrateEstimator()
    granted = GrantedBitrate(estimator, 300_000, lambda: 0.0)
    told = []
    for number in range(10 * MOST_TOLD):
        now = 1000 + 20 * number
        send = round(now / 1000 * (1 << 18)) & 0xFFFFFF
        told.append(granted.add(arrival_time_ms=now, abs_send_time=send, payload_size=1000, ssrc=number))
    assert len(estimator.ssrcs) == MOST_TOLD
    answers = [one for one in told if one is not None]
    assert answers and all(len(ssrcs) <= MOST_TOLD for _, ssrcs in answers)
    assert answers[-1][1][-1] > 250  # the newest streams
    for bitrate, ssrcs in answers:
        pack_remb_fci(bitrate, ssrcs)
