"""What is relied on in aiortc's receiver, and what is mended there. A failure here means: aiortc has changed."""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading

import av
import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver
from aiortc.codecs import CODECS, get_encoder
from aiortc.codecs.vpx import vp8_depayload
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtcrtpreceiver import RemoteStreamTrack, decoder_worker
from aiortc.rtp import RtcpByePacket, RtpPacket

from server.media import aiortc_receive as seam
from server.media.aiortc_private import private, set_private
from server.media.jitter import AudioForwarding, VideoJitterBuffer
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
        self.stages: list[tuple[str, float]] = []
        self.lost_frames = 0

    def receive(self, frame: av.VideoFrame, received: float) -> None:
        self.frames.append((frame, received))

    def lost(self, frames: int) -> None:
        self.lost_frames += frames

    def stage(self, name: str, seconds: float) -> None:
        self.stages.append((name, seconds))


def packet(sequence: int, timestamp: int, marker: int = 0, data: bytes = b"x") -> RtpPacket:
    packet = RtpPacket(payload_type=97, sequence_number=sequence & 0xFFFF, timestamp=timestamp, marker=marker)
    packet._data = data
    return packet


# --- what is relied on


async def test_the_receiver_has_the_parts_that_are_replaced() -> None:
    pc = RTCPeerConnection()
    receiver = pc.addTransceiver("video", "recvonly").receiver
    assert isinstance(private(receiver, "jitter_buffer"), JitterBuffer)
    assert isinstance(private(receiver, "decoder_queue"), queue.Queue)
    assert isinstance(private(receiver, "decoder_error"), threading.Event)
    assert isinstance(RemoteStreamTrack("video")._queue, asyncio.Queue)
    assert list(inspect.signature(decoder_worker).parameters) == ["loop", "input_q", "output_q", "decode_error"]
    worker, handle = inspect.getsource(decoder_worker), inspect.getsource(RTCRtpReceiver._handle_rtp_packet)
    assert "input_q.get()" in worker and "output_q.put(frame)" in worker and "output_q.put(None)" in worker
    assert "packet._data = " in handle and "pli_flag, encoded_frame = self.__jitter_buffer.add(packet)" in handle
    assert "self.__decoder_queue.put((codec, encoded_frame))" in handle
    await pc.close()


async def test_a_renamed_part_is_noticed() -> None:
    pc = RTCPeerConnection()
    with pytest.raises(AttributeError):
        set_private(pc.addTransceiver("video").receiver, "no_such_part", None)
    await pc.close()


# --- the jitter buffers


def test_a_frame_leaves_on_its_marker() -> None:
    clock = Clock()
    jitter = VideoJitterBuffer(clock)
    assert jitter.add(packet(1, 1000, data=b"a")) == (False, None)
    clock.now += 0.01
    _, got = jitter.add(packet(2, 1000, marker=1, data=b"b"))
    assert (got.data, got.timestamp, got.arrived) == (b"ab", 1000, clock.now)


def test_without_markers_a_frame_leaves_with_the_next() -> None:
    jitter = VideoJitterBuffer(Clock())
    assert jitter.add(packet(1, 1000))[1] is None
    assert jitter.add(packet(2, 4000))[1].timestamp == 1000


def test_frames_behind_a_held_packet_leave_together_with_it() -> None:
    clock = Clock()
    jitter = VideoJitterBuffer(clock)
    jitter.add(packet(65534, 0xFFFFF000, marker=1))
    for sequence in range(65536, 65540):  # wraps, and so do the timestamps
        clock.now += 0.02
        assert jitter.add(packet(sequence, (0xFFFFF000 + 3000 * (sequence - 65534)) & 0xFFFFFFFF, marker=1))[1] is None
    clock.now += 0.02
    _, first = jitter.add(packet(65535, 0xFFFFF000 + 3000, marker=1))
    first.timestamp = 7000  # as aiortc maps it
    frames = first.sequence()
    assert [one.timestamp for one in frames] == [7000 + 3000 * i for i in range(5)]
    assert frames[0].arrived == clock.now
    assert frames[1].arrived < frames[2].arrived < clock.now
    assert jitter.add(packet(65540, 30000, marker=1))[1].following == []


def test_audio_packets_pass_at_once_and_late_ones_are_left_out() -> None:
    forwarding = AudioForwarding(Clock())
    passed = [forwarding.add(packet(i, ts))[1] for i, ts in enumerate((960, 1920, 3840, 2880, 4800, 4800))]
    assert [one.timestamp if one else None for one in passed] == [960, 1920, 3840, None, 4800, None]
    assert forwarding.add(packet(9, 5760, data=b""))[1] is None


# --- the receiver


def decoder_queue(sink: Sink, clock: Clock) -> tuple[seam._DecoderQueue, threading.Event]:
    wants_keyframe = threading.Event()
    return seam._DecoderQueue(sink, wants_keyframe, clock), wants_keyframe


async def test_frames_reach_the_sink_with_the_time_of_their_last_packet() -> None:
    clock, sink = Clock(), Sink()
    decoder, _ = decoder_queue(sink, clock)
    jitter, encoder = VideoJitterBuffer(clock), get_encoder(VP8)
    arrived = []
    for number in range(3):
        payloads, _ = encoder.encode(frame(number))
        timestamp, data = 3000 * number, b"".join(vp8_depayload(payload) for payload in payloads)
        arrived.append(clock.now)
        decoder.put((VP8, jitter.add(packet(number, timestamp, marker=1, data=data))[1]))
        clock.now += 0.05
    decoder.put(None)
    worker = threading.Thread(
        target=decoder_worker,
        args=(asyncio.get_running_loop(), decoder, seam._Decoded(decoder), threading.Event()),
    )
    worker.start()
    await asyncio.to_thread(worker.join)
    assert [received for _, received in sink.frames] == arrived
    assert [one.pts for one, _ in sink.frames] == [0, 3000, 6000]
    receive = [seconds for name, seconds in sink.stages if name == "receive"]
    assert receive == pytest.approx([0.15, 0.10, 0.05])


def test_a_decoder_that_falls_behind_starts_anew_with_a_keyframe() -> None:
    sink = Sink()
    decoder, wants_keyframe = decoder_queue(sink, Clock())
    jitter = VideoJitterBuffer(Clock())
    for number in range(seam.DECODER_BACKLOG + 1):
        assert not wants_keyframe.is_set()
        decoder.put((VP8, jitter.add(packet(number, 3000 * number, marker=1))[1]))
    assert wants_keyframe.is_set()
    assert sink.lost_frames == seam.DECODER_BACKLOG + 1


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


def test_what_a_publisher_is_granted_has_a_floor_and_rises_from_there() -> None:
    inner = RemoteBitrateEstimator()
    floored = seam._FlooredEstimator(inner, 300_000)
    granted = []
    arrival, sent = 0.0, 0
    for number in range(4000):  # 100 packets a second, 1.6 Mbit/s at first; then ever later ones; then steady ones
        sent += 10
        arrival += 14 if 500 <= number < 2500 else 10
        estimate = floored.add(
            arrival_time_ms=round(arrival),
            abs_send_time=int(sent / 1000 * (1 << 18)) & 0xFFFFFF,
            payload_size=2000 if number < 500 else 100,
            ssrc=1,
        )
        granted.append(estimate[0] if estimate else None)
    assert min(filter(None, granted)) == 300_000
    assert inner.rate_control.current_bitrate >= 300_000
