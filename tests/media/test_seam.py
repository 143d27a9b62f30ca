"""What the seam relies on in aiortc, and what it mends there. A failure here means: aiortc has changed."""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCSessionDescription
from aiortc.codecs import CODECS, get_encoder
from aiortc.codecs.vpx import vp8_depayload
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtcrtpreceiver import RemoteStreamTrack, decoder_worker
from aiortc.rtp import RtcpByePacket, RtpPacket

from hime_core.picture import Picture
from server.media import aiortc_seam as seam
from server.media.bitrate import Bitrates
from server.media.jitter import AudioForwarding, VideoJitterBuffer
from tests.media.helpers import numbered

VP8 = next(codec for codec in CODECS["video"] if codec.name == "VP8")
OPUS = next(codec for codec in CODECS["audio"] if codec.name == "opus")


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


class Sent:
    def __init__(self) -> None:
        self.keyframes: list[str] = []
        self.seconds: list[float] = []

    def encoded(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def keyframe(self, reason: str) -> None:
        self.keyframes.append(reason)


def packet(sequence: int, timestamp: int, marker: int = 0, data: bytes = b"x") -> RtpPacket:
    packet = RtpPacket(payload_type=97, sequence_number=sequence & 0xFFFF, timestamp=timestamp, marker=marker)
    packet._data = data
    return packet


def frame(number: int, width: int = 160, height: int = 90) -> av.VideoFrame:
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    made = Picture(numbered(width, height, number), chroma, chroma).to_frame()
    made.pts, made.time_base = 3000 * number, Fraction(1, 90000)
    return made


# --- what is relied on


async def test_the_receiver_has_the_parts_that_are_replaced() -> None:
    pc = RTCPeerConnection()
    receiver = pc.addTransceiver("video", "recvonly").receiver
    assert isinstance(seam._private(receiver, "jitter_buffer"), JitterBuffer)
    assert isinstance(seam._private(receiver, "decoder_queue"), queue.Queue)
    assert isinstance(seam._private(receiver, "decoder_error"), threading.Event)
    assert isinstance(RemoteStreamTrack("video")._queue, asyncio.Queue)
    assert list(inspect.signature(decoder_worker).parameters) == ["loop", "input_q", "output_q", "decode_error"]
    worker, handle = inspect.getsource(decoder_worker), inspect.getsource(RTCRtpReceiver._handle_rtp_packet)
    assert "input_q.get()" in worker and "output_q.put(frame)" in worker and "output_q.put(None)" in worker
    assert "packet._data = " in handle and "pli_flag, encoded_frame = self.__jitter_buffer.add(packet)" in handle
    assert "self.__decoder_queue.put((codec, encoded_frame))" in handle
    await pc.close()


async def test_the_sender_takes_an_encoder_that_it_is_given() -> None:
    pc = RTCPeerConnection()
    sender = pc.addTransceiver("video", "sendonly").sender
    assert seam._private(sender, "encoder") is None
    source = inspect.getsource(RTCRtpSender)
    assert "if self.__encoder is None:" in source
    assert "self.__encoder.encode, data, force_keyframe" in source
    assert "self.__encoder.target_bitrate = bitrate" in source
    for name in ("VP8", "H264"):
        encoder = get_encoder(next(codec for codec in CODECS["video"] if codec.name == name))
        assert encoder.codec is None
        assert hasattr(encoder, f"_{type(encoder).__name__}__target_bitrate")
    await pc.close()


async def test_a_renamed_part_is_noticed() -> None:
    pc = RTCPeerConnection()
    with pytest.raises(AttributeError):
        seam._set_private(pc.addTransceiver("video").receiver, "no_such_part", None)
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
    seam._set_private(receiver, "decoder_thread", threading.current_thread())
    seam._private(receiver, "decoder_queue").put = ended.append
    await receiver._handle_rtcp_packet(RtcpByePacket(sources=[1]))
    assert not ended
    seam._set_private(receiver, "decoder_thread", None)
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


# --- the sender


def test_the_encoder_keeps_to_the_bitrates_and_coalesces_keyframes() -> None:
    clock, sent = Clock(), Sent()
    encoder = seam.MeasuredEncoder(get_encoder(VP8), sent, Bitrates(300_000, 2_000_000, 4_000_000), clock)
    keys = []

    def encode(number: int, wanted: bool = False, width: int = 160) -> None:
        payloads, timestamp = encoder.encode(frame(number, width), wanted)
        assert timestamp == 3000 * number
        keys.append(not vp8_depayload(payloads[0])[0] & 1)  # RFC 6386, section 9.1
        clock.now += 1 / 16

    encode(0)
    assert encoder._inner.codec.bit_rate == 2_000_000
    encode(1, wanted=True)  # too soon after the first
    for number in range(2, 14):
        encode(number, wanted=number in (3, 4))
    encode(14, width=320)
    assert sent.keyframes == ["start", "request", "resize"]
    assert [number for number, key in enumerate(keys) if key] == [0, 8, 14]
    assert len(sent.seconds) == 15


# --- negotiation


async def offer_of(*kinds: str) -> tuple[RTCPeerConnection, str]:
    pc = RTCPeerConnection()
    for kind in kinds:
        pc.addTransceiver(kind, "sendonly")
    await pc.setLocalDescription(await pc.createOffer())
    return pc, pc.localDescription.sdp


async def test_the_answer_prefers_vp8_and_says_where_to_begin() -> None:
    client, sdp = await offer_of("video", "audio")
    lines = sdp.splitlines()
    media = next(i for i, line in enumerate(lines) if line.startswith("m=video"))
    lines[media] = "m=video " + " ".join(lines[media].split()[1:3]) + " 99 100 101 102 97 98"
    rtpmaps = [line for line in lines if line.startswith("a=rtpmap:9") or line.startswith("a=rtpmap:10")]
    h264 = [line for line in rtpmaps if line.split(":")[1].split()[0] in ("99", "100", "101", "102")]
    for line in h264:  # H264 comes first in the offer
        lines.remove(line)
    first = next(i for i, line in enumerate(lines) if line.startswith("a=rtpmap:97"))
    lines[first:first] = h264
    pc = RTCPeerConnection()
    await pc.setRemoteDescription(RTCSessionDescription("\r\n".join(lines) + "\r\n", "offer"))
    assert pc.getTransceivers()[0]._codecs[0].name == "H264"
    seam.choose_codecs(pc, Bitrates(start=1_500_000))
    answer = (await pc.createAnswer()).sdp
    video = next(line for line in answer.splitlines() if line.startswith("m=video")).split()[3]
    assert f"a=rtpmap:{video} VP8/90000" in answer
    assert f"a=fmtp:{video} x-google-start-bitrate=1500\r\n" in answer
    assert "profile-level-id=42001f;x-google-start-bitrate=1500" in answer
    assert next(line for line in answer.splitlines() if line.startswith("m=audio")).split()[3:] == ["96"]
    await asyncio.gather(client.close(), pc.close())


async def test_audio_without_opus_is_refused() -> None:
    client, sdp = await offer_of("audio")
    sdp = "\r\n".join(line for line in sdp.splitlines() if "opus" not in line).replace("SAVPF 96 ", "SAVPF ") + "\r\n"
    pc = RTCPeerConnection()
    await pc.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
    with pytest.raises(seam.UnsupportedOffer, match="opus/48000/2"):
        seam.choose_codecs(pc, Bitrates())
    await asyncio.gather(client.close(), pc.close())
