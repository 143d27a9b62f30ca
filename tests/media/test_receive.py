"""What is relied on in aiortc's receiver, and what is mended there. A failure here means: aiortc has changed."""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from typing import Any

import av
import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver
from aiortc.codecs import CODECS, get_decoder, get_encoder
from aiortc.codecs.vpx import vp8_depayload
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtcrtpreceiver import NackGenerator, RemoteStreamTrack, decoder_worker
from aiortc.rtp import RtcpByePacket, RtcpSenderInfo, RtcpSrPacket, RtpPacket
from server.media.aiortc_private import private, set_private

from hime_core.coding import Coding
from server.media import aiortc_decode as decode
from server.media import aiortc_receive as seam
from server.media.receive.capture import CaptureClock
from server.media.receive.jitter import ReceivedData
from tests.media.helpers import numbered_frame as frame

VP8 = next(codec for codec in CODECS["video"] if codec.name == "VP8")


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
        self.requests: list[str] = []
        self.capture = CaptureClock(90000)

    def receive(self, frame: av.VideoFrame, received: float, coding: Coding | None) -> None:
        self.frames.append((frame, received))
        self.codings.append(coding)

    def lost(self, frames: int) -> None:
        self.lost_frames += frames

    def stage(self, name: str, seconds: float) -> None:
        self.stages.append((name, seconds))

    def packets(self, outcome: str, count: int) -> None: ...

    def skipped(self, frames: int) -> None: ...

    def asked_for_keyframe(self, reason: str) -> None:
        self.requests.append(reason)


def packet(sequence: int, key: bool = False) -> RtpPacket:
    """A VP8 frame in one packet."""
    data = b"\x00" if key else b"\x01"
    packet = RtpPacket(payload_type=97, sequence_number=sequence, timestamp=3000 * sequence, marker=1)
    packet.payload, packet._data = b"\x10" + data, data
    return packet


# --- what is relied on


async def test_the_receiver_has_the_parts_that_are_replaced() -> None:
    pc = RTCPeerConnection()
    receiver = pc.addTransceiver("video", "recvonly").receiver
    assert isinstance(private(receiver, "jitter_buffer"), JitterBuffer)
    assert isinstance(private(receiver, "decoder_queue"), queue.Queue)
    assert list(inspect.signature(decoder_worker).parameters) == ["loop", "input_q", "output_q", "decode_error"]
    worker, handle = inspect.getsource(decoder_worker), inspect.getsource(RTCRtpReceiver._handle_rtp_packet)
    assert "task = input_q.get()\n        if task is None:" in worker
    assert "packet._data = " in handle and "pli_flag, encoded_frame = self.__jitter_buffer.add(packet)" in handle
    assert "self.__decoder_queue.put((codec, encoded_frame))" in handle
    assert "if self.__nack_generator is not None and" in handle
    assert private(receiver, "codecs") == {}
    await pc.close()


async def test_a_renamed_part_is_noticed() -> None:
    pc = RTCPeerConnection()
    with pytest.raises(AttributeError):
        set_private(pc.addTransceiver("video").receiver, "no_such_part", None)
    await pc.close()


# --- the receiver


def encoded(number: int, data: bytes, arrived: float) -> tuple[Any, ReceivedData]:
    return VP8, ReceivedData(data, 3000 * number, arrived, 97, ssrc=0, sent=3000 * number)


async def test_frames_reach_the_sink_with_the_time_of_their_last_packet() -> None:
    clock, sink, encoder = Clock(), Sink(), get_encoder(VP8)
    decoder = decode.DecoderQueue(sink, lambda: None, lambda: None, clock)
    arrived = []
    for number in range(3):
        payloads, _ = encoder.encode(frame(number))
        arrived.append(clock.now)
        decoder.put(encoded(number, b"".join(map(vp8_depayload, payloads)), clock.now))
        clock.now += 0.05
    decoder.put(None)
    worker = threading.Thread(
        target=decoder_worker,
        args=(asyncio.get_running_loop(), decoder, asyncio.Queue(), threading.Event()),
    )
    worker.start()
    await asyncio.to_thread(worker.join)
    assert [received for _, received in sink.frames] == arrived
    assert [one.pts for one, _ in sink.frames] == [0, 3000, 6000]
    assert [coding.keyframe for coding in sink.codings] == [True, False, False]
    receive = [seconds for name, seconds in sink.stages if name == "receive"]
    assert receive == pytest.approx([0.15, 0.10, 0.05])


def test_a_decoder_that_falls_behind_starts_anew_with_a_keyframe() -> None:
    sink, behind = Sink(), []
    decoder = decode.DecoderQueue(sink, lambda: behind.append(True), lambda: None, Clock())
    for number in range(decode.DECODER_BACKLOG):
        assert decoder.put(encoded(number, b"x", 0.0))
    assert not behind
    assert not decoder.put(encoded(99, b"x", 0.0))
    assert behind
    assert sink.lost_frames == decode.DECODER_BACKLOG + 1
    assert decoder._queue.empty()


def test_a_frame_that_cannot_be_decoded_is_told_and_the_next_ones_are_tried() -> None:
    sink, failures = Sink(), []
    decoder = decode.DecoderQueue(sink, lambda: None, lambda: failures.append(True), Clock())
    payloads, _ = get_encoder(VP8).encode(frame(1))
    for number, data in enumerate([b"\x00broken", b"".join(map(vp8_depayload, payloads))]):
        decoder.put(encoded(number, data, 0.0))
    decoder.put(None)
    assert decoder.get() is None
    assert failures and len(sink.frames) == 1


class Receiving:
    """A reception whose requests are kept instead of sent, and whose time is the test's."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection()
        self.receiver = receiver = self.pc.addTransceiver("video", "recvonly").receiver
        receiver._track = RemoteStreamTrack("video")
        self.clock, self.sink = Clock(), Sink()
        self.nacks: list[list[int]] = []
        self.decoded: list[int] = []
        self.reception = seam.receive_video(receiver, self.sink, 300_000, self.clock)
        private(receiver, "codecs")[97] = VP8
        self.reception.decoder.put = lambda task: not self.decoded.append(task[1].timestamp // 3000)

        async def send_nack(ssrc: int, lost: list[int]) -> None:
            self.nacks.append(lost)

        async def nothing(*arguments: object) -> None: ...

        receiver._send_rtcp_nack, receiver._send_rtcp_pli = send_nack, nothing
        self.reception._probe = nothing

    async def take(self, *packets: RtpPacket) -> None:
        for packet in packets:
            assert self.reception.add(packet) == (False, None)
            await asyncio.sleep(0)

    async def wait(self, seconds: float) -> None:
        """Goes on in steps of 10 ms, at each of which the timer goes off."""
        for _ in range(round(seconds / 0.01)):
            self.clock.now += 0.01
            self.reception._time_is_up()
            await asyncio.sleep(0)


async def test_a_gap_is_asked_for_again_then_a_keyframe_is_and_that_again() -> None:
    to = Receiving()
    await to.take(packet(0, key=True), packet(1), packet(3))
    assert to.nacks == [[2]] and to.decoded == [0, 1]
    await to.wait(1)
    assert len(to.nacks) > 4 and all(lost == [2] for lost in to.nacks)
    assert to.sink.requests == ["gap", "gap"]  # after 0.4 s, and 0.4 s later
    await to.take(packet(4, key=True))
    assert to.decoded == [0, 1, 4]
    asked = len(to.nacks)
    await to.wait(1)
    assert len(to.nacks) == asked and len(to.sink.requests) == 2
    await to.pc.close()


async def test_the_publishers_reports_tell_when_a_frame_was_captured() -> None:
    to = Receiving()
    await to.take(packet(100, key=True), packet(101))
    assert to.sink.capture.ntp(0) is None
    info = RtcpSenderInfo(ntp_timestamp=7 << 32, rtp_timestamp=3000 * 101 + 90000, packet_count=2, octet_count=2)
    await to.receiver._handle_rtcp_packet(RtcpSrPacket(ssrc=0, sender_info=info))
    assert to.decoded == [0, 1]  # frames are counted from the first one
    assert to.sink.capture.ntp(3000) == 6 << 32
    await to.pc.close()


async def test_the_publishers_reports_tell_when_sound_was_captured() -> None:
    class Heard:
        capture, packets = CaptureClock(48000), []

        def receive(self, packet: av.Packet, received: float) -> None:
            self.packets.append(packet)

    pc, sink = RTCPeerConnection(), Heard()
    receiver = pc.addTransceiver("audio", "recvonly").receiver
    receiver._track = RemoteStreamTrack("audio")
    seam.receive_audio(receiver, sink)
    opus = next(codec for codec in CODECS["audio"] if codec.name.lower() == "opus")
    private(receiver, "codecs")[111] = opus
    set_private(receiver, "decoder_thread", threading.current_thread())
    for number in range(2):
        sent = RtpPacket(payload_type=111, sequence_number=number, timestamp=5_000_000 + 960 * number)
        sent.payload = b"x"
        await receiver._handle_rtp_packet(sent, arrival_time_ms=0)
    assert [one.pts for one in sink.packets] == [0, 960]
    info = RtcpSenderInfo(ntp_timestamp=7 << 32, rtp_timestamp=5_000_960 + 48000, packet_count=2, octet_count=2)
    await receiver._handle_rtcp_packet(RtcpSrPacket(ssrc=0, sender_info=info))
    assert sink.capture.ntp(960) == 6 << 32
    set_private(receiver, "decoder_thread", None)
    await pc.close()


async def test_nothing_is_asked_of_a_publisher_that_sends_nothing() -> None:
    to = Receiving()
    await to.take(packet(0))
    assert to.sink.requests == ["start"]
    await to.wait(10)
    assert 2 <= len(to.sink.requests) <= 4
    assert to.reception._timer is None
    await to.pc.close()


async def test_frames_that_the_decoder_fails_on_make_one_request() -> None:
    to = Receiving()
    await to.take(packet(0, key=True))
    for number in range(1, 10):
        to.reception.decoder_failed()
        await asyncio.sleep(0)
        await to.take(packet(number))
    assert to.sink.requests == ["decoder"]
    assert to.decoded == [0]  # the last good picture is held
    await to.take(packet(10, key=True), packet(11))
    assert to.decoded == [0, 10, 11]
    await to.pc.close()


# --- what aiortc does by itself; where one of these fails, what is mended may no longer need mending


async def test_aiortc_asks_for_a_keyframe_with_every_frame_that_it_fails_on() -> None:
    pc = RTCPeerConnection()
    receiver = pc.addTransceiver("video", "recvonly").receiver
    private(receiver, "codecs")[97] = VP8
    requests = []

    async def send_pli(ssrc: int) -> None:
        requests.append(ssrc)

    receiver._send_rtcp_pli = send_pli
    for number in range(10):
        private(receiver, "decoder_error").set()
        await receiver._handle_rtp_packet(packet(number), arrival_time_ms=0)
    assert len(requests) == 10
    await pc.close()


def test_aiortc_asks_for_a_lost_packet_again_only_when_another_is_lost() -> None:
    generator = NackGenerator()
    assert [generator.add(packet(number)) for number in (0, 2, 3, 4, 5, 7)] == [False, True, False, False, False, True]


async def test_aiortcs_queue_of_frames_grows_while_nobody_reads() -> None:
    track = RemoteStreamTrack("video")
    for number in range(100):
        await track._queue.put(frame(number))
    assert track._queue.qsize() == 100


# --- the rest


async def test_a_goodbye_does_not_end_the_receiver() -> None:
    pc = RTCPeerConnection()
    receiver = pc.addTransceiver("video", "recvonly").receiver
    receiver._track = RemoteStreamTrack("video")
    seam.receive_video(receiver, Sink(), 300_000)
    ended = []
    set_private(receiver, "decoder_thread", threading.current_thread())
    private(receiver, "decoder_queue").put = ended.append
    await receiver._handle_rtcp_packet(RtcpByePacket(sources=[1]))
    assert not ended
    set_private(receiver, "decoder_thread", None)
    await pc.close()


def test_vp8_is_decoded_as_by_libvpx_whatever_its_size_and_without_delay() -> None:
    theirs, ours = get_decoder(VP8), decode._decoder(VP8)
    assert theirs.codec.name == "libvpx"
    encoder = get_encoder(VP8)
    for number, width in enumerate([320, 320, 160, 160, 324, 324]):
        payloads, _ = encoder.encode(frame(number, width, width // 2))
        task = encoded(number, b"".join(map(vp8_depayload, payloads)), 0.0)[1]
        sent = av.Packet(task.data)
        sent.pts = task.timestamp
        ((one, coding),), (other,) = ours.decode(sent), theirs.decode(task)
        assert coding.bytes == len(task.data) and coding.keyframe == (number % 2 == 0)
        assert (one.width, one.height, one.format.name, one.pts) == (width, width // 2, "yuv420p", 3000 * number)
        assert (one.to_ndarray() == other.to_ndarray()).all()
