"""Receivers: what they ask of the publisher, what reaches their sinks, and decoding."""

from __future__ import annotations

import asyncio

import av
import pytest
from aiortc.codecs import get_decoder, get_encoder
from aiortc.codecs.vpx import vp8_depayload
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_PLI,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    RtpPacket,
    unpack_remb_fci,
)

from benchmarks.shared.peers import numbered_frame as frame
from hime_core.video.coding import Coding, CodingDecoder
from server.media.receive.capture import CaptureClock
from server.media.receive.decode import BACKLOG, Decoder, make_decoder
from server.media.receive.jitter import ReceivedData
from server.media.receive.receiver import AudioReceiver, VideoReceiver
from server.media.receive.reports import MOST_STREAMS
from server.media.receive.rtp import Packet
from tests.unit.sections import OPUS, RTX, VP8, NotingPeer, section


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Sink:
    def __init__(self) -> None:
        self.frames: list[tuple[av.VideoFrame, float]] = []
        self.codings: list[Coding | None] = []
        self.stages: list[tuple[str, float]] = []
        self.lost_frames = 0
        self.left_out: list[str] = []
        self.requests: list[str] = []
        self.failures: list[str] = []
        self.capture = CaptureClock(90000)

    def receive(self, frame: av.VideoFrame, received: float, coding: Coding | None) -> None:
        self.frames.append((frame, received))
        self.codings.append(coding)

    def lost(self, frames: int) -> None:
        self.lost_frames += frames

    def refused(self, reason: str) -> None:
        self.left_out.append(reason)

    def stage(self, name: str, seconds: float) -> None:
        self.stages.append((name, seconds))

    def failed(self, part: str) -> None:
        self.failures.append(part)

    def packets(self, outcome: str, count: int) -> None: ...

    def skipped(self, frames: int) -> None: ...

    def asked_for_keyframe(self, reason: str) -> None:
        self.requests.append(reason)


def packet(sequence: int, key: bool = False, payload_type: int = VP8.payloadType) -> Packet:
    """A VP8 frame in one packet."""
    payload = b"\x10" + (b"\x00" if key else b"\x01")
    sent = RtpPacket(payload_type, 1, sequence & 0xFFFF, 3000 * sequence & 0xFFFFFFFF, 5, payload)
    return Packet(sent.serialize(), 100.0, None)


def report(ntp: int, rtp: int) -> RtcpSrPacket:
    return RtcpSrPacket(ssrc=5, sender_info=RtcpSenderInfo(ntp, rtp, packet_count=2, octet_count=2))


# --- decoding


def encoded(number: int, data: bytes, arrived: float) -> ReceivedData:
    return ReceivedData(data, 3000 * number, arrived, 97, ssrc=0, sent=3000 * number)


async def test_frames_reach_the_sink_with_the_time_of_their_last_packet() -> None:
    clock, sink, encoder = Clock(), Sink(), get_encoder(VP8)
    decoder = Decoder(sink, lambda: None, lambda: None, clock)
    arrived = []
    for number in range(3):
        payloads, _ = encoder.encode(frame(number))
        arrived.append(clock.now)
        decoder.put("VP8", encoded(number, b"".join(map(vp8_depayload, payloads)), clock.now))
        clock.now += 0.05
    decoder._queue.put(None)
    decoder.run()
    assert [received for _, received in sink.frames] == arrived
    assert [one.pts for one, _ in sink.frames] == [0, 3000, 6000]
    assert [coding.keyframe for coding in sink.codings] == [True, False, False]
    receive = [seconds for name, seconds in sink.stages if name == "receive"]
    assert receive == pytest.approx([0.15, 0.10, 0.05])


def test_a_decoder_that_falls_behind_starts_anew_with_a_keyframe() -> None:
    sink, behind = Sink(), []
    decoder = Decoder(sink, lambda: behind.append(True), lambda: None, Clock())
    for number in range(BACKLOG):
        assert decoder.put("VP8", encoded(number, b"x", 0.0))
    assert not behind
    assert not decoder.put("VP8", encoded(99, b"x", 0.0))
    assert behind
    assert sink.lost_frames == BACKLOG + 1
    assert decoder._queue.empty()


def test_a_frame_that_cannot_be_decoded_is_told_and_the_next_ones_are_tried() -> None:
    sink, failures = Sink(), []
    decoder = Decoder(sink, lambda: None, lambda: failures.append(True), Clock())
    payloads, _ = get_encoder(VP8).encode(frame(1))
    for number, data in enumerate([b"\x00broken", b"".join(map(vp8_depayload, payloads))]):
        decoder.put("VP8", encoded(number, data, 0.0))
    decoder._queue.put(None)
    decoder.run()
    assert failures and len(sink.frames) == 1


def test_no_error_of_a_decoder_ends_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, failures = Sink(), []
    decoder = Decoder(sink, lambda: None, lambda: failures.append(True), Clock())
    real = CodingDecoder.decode

    def decode(self: CodingDecoder, sent: av.Packet) -> object:
        if bytes(sent) == b"odd":
            raise MemoryError("of another kind than FFmpeg's")
        return real(self, sent)

    monkeypatch.setattr(CodingDecoder, "decode", decode)
    payloads, _ = get_encoder(VP8).encode(frame(1))
    for number, data in enumerate([b"odd", b"".join(map(vp8_depayload, payloads))]):
        decoder.put("VP8", encoded(number, data, 0.0))
    decoder._queue.put(None)
    decoder.run()
    assert failures and len(sink.frames) == 1


def test_a_closed_decoder_hands_nothing_on_any_more() -> None:
    sink = Sink()
    decoder = Decoder(sink, lambda: None, lambda: None, Clock())
    decoder.close()  # before it was started
    decoder = Decoder(sink, lambda: None, lambda: None, Clock())
    decoder.start()
    decoder.close()
    payloads, _ = get_encoder(VP8).encode(frame(1))
    decoder.put("VP8", encoded(0, b"".join(map(vp8_depayload, payloads)), 0.0))
    assert not decoder._thread.is_alive() and not sink.frames


def test_vp8_is_decoded_as_by_libvpx_whatever_its_size_and_without_delay() -> None:
    theirs, ours = get_decoder(VP8), make_decoder("VP8")
    assert theirs.codec.name == "libvpx"
    encoder = get_encoder(VP8)
    for number, width in enumerate([320, 320, 160, 160, 324, 324]):
        payloads, _ = encoder.encode(frame(number, width, width // 2))
        task = encoded(number, b"".join(map(vp8_depayload, payloads)), 0.0)
        sent = av.Packet(task.data)
        sent.pts = task.timestamp
        ((one, coding),), (other,) = ours.decode(sent), theirs.decode(task)
        assert coding.bytes == len(task.data) and coding.keyframe == (number % 2 == 0)
        assert (one.width, one.height, one.format.name, one.pts) == (width, width // 2, "yuv420p", 3000 * number)
        assert (one.to_ndarray() == other.to_ndarray()).all()


# --- video


class Receiving:
    """A receiver whose requests are noted instead of sent, and whose time is the test's."""

    def __init__(self) -> None:
        self.clock, self.sink, self.peer = Clock(), Sink(), NotingPeer()
        self.decoded: list[int] = []
        self.receiver = VideoReceiver(section(VP8, RTX, ssrcs=(5, 6)), self.peer, self.sink, 300_000, self.clock)
        self.receiver._decoder.put = lambda codec, frame: not self.decoded.append(frame.timestamp // 3000)

    @property
    def nacks(self) -> list[list[int]]:
        return [one.lost for one in self.peer.rtcp if isinstance(one, RtcpRtpfbPacket)]

    @property
    def keyframes_asked_for(self) -> int:
        feedback = [one for one in self.peer.rtcp if isinstance(one, RtcpPsfbPacket)]
        return sum(one.fmt == RTCP_PSFB_PLI and one.media_ssrc == 5 for one in feedback)

    def take(self, *packets: Packet) -> None:
        for packet in packets:
            self.receiver.receive(packet)

    def wait(self, seconds: float) -> None:
        """Goes on in steps of 10 ms, at each of which the timer goes off."""
        for _ in range(round(seconds / 0.01)):
            self.clock.now += 0.01
            self.receiver._time_is_up()


async def test_a_gap_is_asked_for_again_then_a_keyframe_is_and_that_again() -> None:
    to = Receiving()
    to.take(packet(0, key=True), packet(1), packet(3))
    assert to.nacks == [[2]] and to.decoded == [0, 1]
    to.wait(1)
    assert len(to.nacks) > 4 and all(lost == [2] for lost in to.nacks)
    assert to.sink.requests == ["gap", "gap"]  # after 0.4 s, and 0.4 s later
    assert to.keyframes_asked_for == 2
    to.take(packet(4, key=True))
    assert to.decoded == [0, 1, 4]
    asked = len(to.nacks)
    to.wait(1)
    assert len(to.nacks) == asked and len(to.sink.requests) == 2
    await to.receiver.close()


async def test_packets_are_asked_for_where_their_numbers_begin_anew() -> None:
    to = Receiving()
    to.take(packet(65533, key=True), packet(65537))
    assert [sorted(lost) for lost in to.nacks] == [[0, 65534, 65535]]
    await to.receiver.close()


async def test_a_retransmission_fills_a_gap() -> None:
    to = Receiving()
    to.take(packet(0, key=True), packet(2))
    sent = RtpPacket(RTX.payloadType, 1, 77, 3000, 6, b"\x00\x01\x10\x01")
    to.take(Packet(sent.serialize(), 100.0, None))
    assert to.decoded == [0, 1, 2]
    await to.receiver.close()


async def test_the_publishers_reports_tell_when_a_frame_was_captured() -> None:
    to = Receiving()
    to.take(packet(100, key=True), packet(101))
    assert to.sink.capture.ntp(0) is None
    to.receiver.receive_rtcp(report(7 << 32, 3000 * 101 + 90000))
    assert to.decoded == [0, 1]  # frames are counted from the first one
    assert to.sink.capture.ntp(3000) == 6 << 32
    (info,) = to.receiver._reports.report().reports
    assert (info.ssrc, info.lsr) == (5, 7 << 16)
    await to.receiver.close()


async def test_a_publisher_that_sends_much_is_told_what_it_is_granted() -> None:
    to = Receiving()
    for number in range(400):
        sent = packet(number, key=True)
        sent.arrived = 100 + 0.01 * number
        sent.abs_send_time = int(0.01 * number * (1 << 18)) & 0xFFFFFF
        to.take(sent)
    told = [one for one in to.peer.rtcp if isinstance(one, RtcpPsfbPacket) and one.fmt == RTCP_PSFB_APP]
    assert told
    bitrate, ssrcs = unpack_remb_fci(told[-1].fci)
    assert bitrate == pytest.approx(300_000, rel=0.01) and ssrcs == [5]
    await to.receiver.close()


async def test_streams_without_end_are_neither_counted_nor_named_without_end() -> None:
    """Each packet of another stream, and a report about each."""
    to = Receiving()
    for number in range(400):
        sent = packet(number, key=True)
        sent.ssrc, sent.arrived = 1000 + number, 100 + 0.01 * number
        sent.abs_send_time = int(0.01 * number * (1 << 18)) & 0xFFFFFF
        sent.marker = 1
        to.take(sent)
        to.receiver.receive_rtcp(RtcpSrPacket(ssrc=sent.ssrc, sender_info=RtcpSenderInfo(7 << 32, 1, 2, 2)))
    told = [one for one in to.peer.rtcp if isinstance(one, RtcpPsfbPacket) and one.fmt == RTCP_PSFB_APP]
    assert told and all(len(unpack_remb_fci(one.fci)[1]) <= MOST_STREAMS for one in told)
    reports = to.receiver._reports
    assert len(reports.streams) == len(reports._sender_reports) == MOST_STREAMS
    await to.receiver.close()


async def test_a_report_can_be_made_whatever_the_timestamps_were() -> None:
    to = Receiving()
    for number in range(300):
        sent = packet(number, key=True)
        sent.timestamp = 0 if number % 2 else 0xFFFFFFFF
        to.take(sent)
    to.receiver._reports.streams[5]._jitter_q4 = 1 << 40
    (info,) = RtcpRrPacket.parse(bytes(to.receiver._reports.report())[4:], 1).reports
    assert info.jitter == 0xFFFFFFFF
    await to.receiver.close()


async def test_nothing_is_asked_of_a_publisher_that_sends_nothing() -> None:
    to = Receiving()
    to.take(packet(0))
    assert to.sink.requests == ["start"]
    to.wait(10)
    assert 2 <= len(to.sink.requests) <= 4
    assert to.receiver._timer is None
    await to.receiver.close()


async def test_frames_that_the_decoder_fails_on_make_one_request() -> None:
    to = Receiving()
    to.take(packet(0, key=True))
    for number in range(1, 10):
        to.receiver._decoder_failed()
        await asyncio.sleep(0)
        to.take(packet(number))
    assert to.sink.requests == ["decoder"]
    assert to.decoded == [0]  # the last good picture is held
    to.take(packet(10, key=True), packet(11))
    assert to.decoded == [0, 10, 11]
    await to.receiver.close()


async def test_a_goodbye_does_not_end_the_receiver() -> None:
    """Chromium sends one when a camera is only switched off."""
    to = Receiving()
    to.receiver.start()
    to.take(packet(0, key=True))
    to.receiver.receive_rtcp(RtcpByePacket(sources=[5]))
    to.take(packet(1))
    assert to.decoded == [0, 1] and to.receiver._decoder._thread.is_alive()
    await to.receiver.close()
    assert not to.receiver._decoder._thread.is_alive()


# --- audio


async def test_sound_reaches_its_sink_undecoded_with_the_time_of_its_capture() -> None:
    class Heard:
        capture = CaptureClock(48000)

        def __init__(self) -> None:
            self.packets: list[ReceivedData] = []

        def receive(self, packet: ReceivedData) -> None:
            self.packets.append(packet)

    sink = Heard()
    receiver = AudioReceiver(section(OPUS), NotingPeer(), sink)
    for number in range(2):
        sent = RtpPacket(OPUS.payloadType, 0, number, 5_000_000 + 960 * number, 5, b"opus")
        receiver.receive(Packet(sent.serialize(), 0.0, None))
    assert [(one.data, one.timestamp) for one in sink.packets] == [(b"opus", 0), (b"opus", 960)]
    receiver.receive_rtcp(report(7 << 32, 5_000_960 + 48000))
    assert sink.capture.ntp(960) == 6 << 32
    await receiver.close()
