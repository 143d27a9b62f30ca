"""Senders: how frames and sound leave, and what becomes of the watcher's reports."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpByePacket,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSrPacket,
    RtpPacket,
    pack_remb_fci,
)

from benchmarks.shared.peers import until
from server.media.receive.capture import CaptureClock
from server.media.receive.jitter import ReceivedData
from server.media.send.bitrate import Bitrates
from server.media.send.history import REPEAT_AFTER
from server.media.send.pacing import MAX_DELAY, Pacer
from server.media.send.sender import REPEAT_BURST, AudioSender, VideoSender
from server.media.send.tracks import AudioRelay, EncodedFrame, VideoFeed, VideoTrack
from tests.unit.sections import H264, OPUS, RTX, VP8, NotingPeer, section
from tests.unit.simulated_path import Clock


class Source:
    def __init__(self) -> None:
        self.requests: list[str] = []
        self.changes = 0

    def request_keyframe(self, track: VideoTrack, reason: str) -> None:
        self.requests.append(reason)

    def path_changed(self, track: VideoTrack) -> None:
        self.changes += 1


class Sending:
    """A watcher that is connected. Made in the event loop."""

    def __init__(self, codec: object = VP8) -> None:
        self.peer, self.source = NotingPeer(), Source()
        self.capture = CaptureClock(90000)
        self.unrepaired: list[int] = []
        self.track = VideoTrack(Bitrates(), VideoFeed(self.capture, on_unrepaired=self.unrepaired.append))
        self.track.source = self.source
        self.sender = VideoSender(section(codec), self.peer, self.track, "name")
        self.ssrc = self.sender.description.ssrc
        self.sender.start()

    def lose(self, packets: int, rate: int) -> tuple[Clock, list[int]]:
        """Of a frame, whose numbers are returned; the path carries `rate` bit/s from now on. The clock stands still."""
        clock = Clock()
        self.sender._stream._history._clock = clock
        self.sender._pacer = Pacer(lambda: 1e9, clock, clock.later)
        self.track.put(EncodedFrame([bytes(1200)] * packets, 0, True, 1.0))
        lost = [RtpPacket.parse(one).sequence_number for one in self.peer.rtp]
        self.sender._pacer = Pacer(lambda: rate, clock, clock.later)
        self.peer.rtp.clear()
        return clock, lost

    def ask(self, lost: list[int]) -> None:
        self.sender.receive_rtcp(RtcpRtpfbPacket(RTCP_RTPFB_NACK, ssrc=1, media_ssrc=self.ssrc, lost=lost))

    @property
    def payloads(self) -> list[bytes]:
        return [RtpPacket.parse(one).payload for one in self.peer.rtp]


def frame(payload: bytes, number: int = 0, keyframe: bool = True) -> EncodedFrame:
    return EncodedFrame([payload], 3000 * number, keyframe, 1.0)


async def test_frames_leave_at_once_and_the_track_learns_its_codec() -> None:
    for codec, name in ((VP8, "VP8"), (H264, "H264")):
        to = Sending(codec)
        to.track.put(frame(b"one"))
        assert (to.payloads, to.track.codec) == ([b"one"], name)
        await to.sender.close()
        assert to.track.ended
        to.track.put(frame(b"two"))
        assert to.payloads == [b"one"]


async def test_the_track_learns_whether_its_watcher_takes_padding() -> None:
    for codecs, padded in (((VP8,), False), ((VP8, RTX), True)):
        track = VideoTrack(Bitrates(), VideoFeed(CaptureClock(90000)))
        sender = VideoSender(section(*codecs), NotingPeer(), track, "name")
        assert track.padded == padded
        await sender.close()


async def test_what_the_peer_reports_reaches_the_track() -> None:
    to = Sending()
    for kind in (RTCP_PSFB_PLI, RTCP_PSFB_FIR):
        to.sender.receive_rtcp(RtcpPsfbPacket(fmt=kind, ssrc=1, media_ssrc=to.ssrc))
        to.sender.receive_rtcp(RtcpPsfbPacket(fmt=kind, ssrc=1, media_ssrc=to.ssrc ^ 1))
    assert to.source.requests == ["request", "request"]
    for fci in (pack_remb_fci(3_000_000, [to.ssrc]), pack_remb_fci(1, [to.ssrc ^ 1]), b"REM", b"REMB\x05\0\0\0"):
        to.sender.receive_rtcp(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=fci))
    assert to.track.path.rate == pytest.approx(3_000_000, rel=0.01)
    lost = RtcpReceiverInfo(to.ssrc, fraction_lost=128, packets_lost=9, highest_sequence=9, jitter=0, lsr=0, dlsr=0)
    other = RtcpReceiverInfo(to.ssrc ^ 1, 255, 9, 9, 0, 0, 0)
    to.sender.receive_rtcp(RtcpRrPacket(ssrc=1, reports=[other, lost]))
    assert to.track.path.rate == pytest.approx(0.75 * 3_000_000, rel=0.01)
    assert to.source.changes == 2
    await to.sender.close()


async def test_lost_packets_are_sent_again_to_who_asks() -> None:
    to = Sending()
    for number in range(3):
        to.track.put(frame(b"%d" % number, number))
    lost = [RtpPacket.parse(to.peer.rtp[number]).sequence_number for number in (0, 2)]
    to.peer.rtp.clear()
    for ssrc in (to.ssrc ^ 1, to.ssrc):
        to.sender.receive_rtcp(RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=ssrc, lost=[*lost, 40000]))
    assert to.payloads == [b"0", b"2"]
    await to.sender.close()


async def test_nobody_gets_more_sent_again_than_was_sent() -> None:
    """A request of a kilobyte can name all that is remembered dozens of times."""
    to = Sending()
    for number in range(REPEAT_BURST):
        to.track.put(frame(b"%d" % number, number))
    lost = [RtpPacket.parse(one).sequence_number for one in to.peer.rtp]
    to.peer.rtp.clear()
    nack = RtcpRtpfbPacket(RTCP_RTPFB_NACK, ssrc=1, media_ssrc=to.ssrc, lost=lost * 30)
    to.sender.receive_rtcp(nack)
    assert len(to.peer.rtp) == REPEAT_BURST
    to.sender.receive_rtcp(nack)
    assert len(to.peer.rtp) == REPEAT_BURST
    await asyncio.sleep(2 * REPEAT_AFTER)
    to.track.put(frame(b"next", 1000))
    to.sender.receive_rtcp(nack)
    assert len(to.peer.rtp) == REPEAT_BURST + 2  # the frame, and as much again
    await to.sender.close()


async def test_a_packet_that_is_asked_for_twice_at_once_is_sent_once() -> None:
    to = Sending()
    to.track.put(frame(b"one"))
    lost = [RtpPacket.parse(to.peer.rtp[0]).sequence_number]
    for _ in range(3):
        to.sender.receive_rtcp(RtcpRtpfbPacket(RTCP_RTPFB_NACK, ssrc=1, media_ssrc=to.ssrc, lost=lost))
    assert to.payloads == [b"one", b"one"]
    await to.sender.close()


async def test_a_watcher_that_estimates_nothing_at_all_gets_its_packets_again() -> None:
    to = Sending()
    to.track.put(EncodedFrame([bytes(1000)] * 5, 0, True, 1.0))
    lost = [RtpPacket.parse(one).sequence_number for one in to.peer.rtp]
    to.sender.receive_rtcp(RtcpPsfbPacket(RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=pack_remb_fci(0, [to.ssrc])))
    assert to.track.path.rate == 0
    to.peer.rtp.clear()
    to.sender.receive_rtcp(RtcpRtpfbPacket(RTCP_RTPFB_NACK, ssrc=1, media_ssrc=to.ssrc, lost=lost))
    await until(lambda: len(to.peer.rtp) == 5)
    await to.sender.close()


async def test_packets_that_come_too_late_beside_the_picture_are_left_out_and_may_be_asked_for_again() -> None:
    to = Sending()
    clock, lost = to.lose(10, rate=100_000)
    to.ask(lost)
    clock.run(2 * MAX_DELAY)
    repaired = len(to.peer.rtp)
    to.track.put(frame(b"next", 1))
    clock.run(1)
    assert 0 < repaired < 10 and to.unrepaired == [10 - repaired]
    assert len(to.peer.rtp) == repaired + 1 and to.payloads[-1] == b"next"
    assert to.sender._repeats == REPEAT_BURST - repaired + 1
    to.ask(lost[repaired:])
    clock.run(2)
    assert len(to.peer.rtp) == 10 + 1
    await to.sender.close()


async def test_what_waits_to_be_sent_again_is_not_queued_twice_and_a_repair_may_be_lost_itself() -> None:
    to = Sending()
    clock, lost = to.lose(60, rate=300_000)
    for _ in range(30):
        to.ask(lost[len(to.peer.rtp) :])  # what has not come yet
        clock.run(0.1)
    assert len(to.peer.rtp) == 60 and to.sender._repeats == REPEAT_BURST - 60
    to.ask(lost[:1])
    assert len(to.peer.rtp) == 61
    to.ask(lost[:1])
    assert len(to.peer.rtp) == 61  # it has left a moment ago
    clock.run(REPEAT_AFTER)
    to.ask(lost[:1])
    assert len(to.peer.rtp) == 62
    await to.sender.close()


async def test_a_packet_that_has_just_left_again_is_on_its_way_however_long_it_waited() -> None:
    to = Sending()
    clock, lost = to.lose(5, rate=100_000)
    begun = clock.now
    to.ask(lost)
    while len(to.peer.rtp) < 5:
        clock.run(0.01)
    assert clock.now - begun > REPEAT_AFTER
    to.ask(lost[4:])
    clock.run(1)
    assert len(to.peer.rtp) == 5
    to.ask(lost[4:])
    clock.run(1)
    assert len(to.peer.rtp) == 6
    await to.sender.close()


async def test_reports_tell_the_capture_of_what_was_sent_last_and_wait_until_it_is_known() -> None:
    to = Sending()
    reports = to.sender._reports
    to.capture.counted(5, 100_000, 3000)
    to.capture.reported(5, 9 << 32, 100_000 + 90000)
    assert reports.report() is None  # of a sender that has not sent anything
    to.track.put(frame(b"one", 1))
    got, named = RtcpPacket.parse(reports.report())
    assert isinstance(got, RtcpSrPacket) and isinstance(named, RtcpSdesPacket)
    (left,) = (RtpPacket.parse(one) for one in to.peer.rtp)
    assert (got.sender_info.ntp_timestamp, got.sender_info.rtp_timestamp) == (8 << 32, left.timestamp)
    assert (got.ssrc, got.sender_info.packet_count, got.sender_info.octet_count) == (to.ssrc, 1, 3)
    assert named.chunks[0].items == [(1, b"name")]
    to.capture.counted(6, 0, 3000)  # another source, which has not reported
    assert reports.report() is None
    await to.sender.close()
    assert [type(one) for one in to.peer.rtcp] == [RtcpByePacket]


async def test_a_lost_connection_ends_the_track_and_concerns_nobody_else() -> None:
    to = Sending()
    to.track.put(frame(b"one"))
    to.peer.lost = True
    to.track.put(frame(b"two", 1, keyframe=False))
    assert to.track.ended
    await to.sender.close()


async def test_an_error_ends_the_track_is_logged_and_concerns_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    to = Sending()
    with caplog.at_level(logging.ERROR):
        to.track.put(EncodedFrame(["no bytes"], 0, True, 1.0))  # type: ignore[list-item]
    assert to.track.ended and "no more video" in caplog.text
    await to.sender.close()


async def test_sound_leaves_and_is_reported_like_the_picture() -> None:
    peer, relay = NotingPeer(), AudioRelay()
    track = relay.watch()
    sender = AudioSender(section(OPUS), peer, track, "name")
    sender.start()
    relay.receive(ReceivedData(b"opus", 960, time.monotonic(), OPUS.payloadType, ssrc=5, sent=960))
    relay.capture.counted(5, 0, 0)
    relay.capture.reported(5, 9 << 32, 960 + 48000)
    await asyncio.sleep(0.01)
    (left,) = (RtpPacket.parse(one) for one in peer.rtp)
    assert (left.payload, left.ssrc, left.payload_type) == (b"opus", sender.description.ssrc, OPUS.payloadType)
    report, _ = RtcpPacket.parse(sender._reports.report())
    assert report.sender_info.ntp_timestamp == 8 << 32
    track.stop()
    await asyncio.sleep(0.01)
    assert len(sender._tasks._running) == 1  # the reports'
    await sender.close()
