"""All that touches the inside of aiortc's receivers. `tests/media/test_receive.py` fails when it changes.

Written against aiortc 1.15 and 1.16. Everything is set on single objects; no module of aiortc is patched.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

import av
from aiortc import RTCRtpReceiver
from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtp import RtcpByePacket

from server.media.aiortc_private import private, set_private
from server.media.jitter import AudioForwarding, ReceivedData, VideoJitterBuffer

DECODER_BACKLOG = 64  # encoded frames; more than two seconds behind, only a new keyframe helps


class VideoSink(Protocol):
    """Where decoded video goes; called from the stream's decoder thread."""

    def receive(self, frame: av.VideoFrame, received: float) -> None:
        """received: when the frame's last packet was taken from the network, in clock seconds."""

    def lost(self, frames: int) -> None: ...
    def stage(self, name: str, seconds: float) -> None: ...


class AudioSink(Protocol):
    """Where Opus packets go; called in the event loop."""

    def receive(self, packet: av.Packet, received: float) -> None: ...


def receive_video(
    receiver: RTCRtpReceiver, sink: VideoSink, min_bitrate: int, clock: Callable[[], float] = time.monotonic
) -> Arrivals:
    """Leads a receiver's decoded frames to the sink instead of aiortc's unbounded track queue. Before it starts.

    min_bitrate: bit/s that the publisher is always granted.
    """
    jitter = VideoJitterBuffer(clock)
    decoder = _DecoderQueue(sink, private(receiver, "decoder_error"), clock)
    set_private(receiver, "jitter_buffer", jitter)
    set_private(receiver, "decoder_queue", decoder)
    estimator = private(receiver, "remote_bitrate_estimator")
    set_private(receiver, "remote_bitrate_estimator", _FlooredEstimator(estimator, min_bitrate))
    receiver.track._queue = _Decoded(decoder)
    _keep_after_bye(receiver)
    return jitter


def receive_audio(receiver: RTCRtpReceiver, sink: AudioSink, clock: Callable[[], float] = time.monotonic) -> Arrivals:
    """Leads a receiver's Opus packets to the sink undecoded. Before it starts."""
    forwarding = AudioForwarding(clock)
    set_private(receiver, "jitter_buffer", forwarding)
    set_private(receiver, "decoder_queue", _PacketQueue(sink))
    _keep_after_bye(receiver)
    return forwarding


class Arrivals(Protocol):
    last_arrival: float | None  # of any packet, in clock seconds


class _DecoderQueue:
    """Encoded frames for aiortc's decoder thread; bounded, and it knows which frame is being decoded."""

    def __init__(self, sink: VideoSink, wants_keyframe: threading.Event, clock: Callable[[], float]) -> None:
        self._sink = sink
        self._wants_keyframe = wants_keyframe
        self._clock = clock
        self._queue: queue.Queue[tuple[Any, ReceivedData] | None] = queue.Queue()
        self._current: ReceivedData | None = None
        self._started = 0.0

    def put(self, task: tuple[Any, ReceivedData] | None) -> None:
        if task is None:
            self._queue.put(None)
            return
        codec, first = task
        for frame in first.sequence():
            self._queue.put((codec, frame))
        if self._queue.qsize() > DECODER_BACKLOG:
            self._sink.lost(self._empty())
            self._wants_keyframe.set()

    def get(self) -> tuple[Any, ReceivedData] | None:
        task = self._queue.get()
        if task is not None:
            self._current, self._started = task[1], self._clock()
            # From the last packet's arrival to the decoder: packets missing before it, and the decoder's backlog.
            # The kernel's and the event loop's queues lie before the arrival and are not seen.
            self._sink.stage("receive", self._started - self._current.arrived)
        return task

    def decoded(self, frame: av.VideoFrame) -> None:
        assert self._current is not None
        self._sink.stage("decode", self._clock() - self._started)
        self._sink.receive(frame, self._current.arrived)

    def _empty(self) -> int:
        frames = 0
        while True:
            try:
                frames += self._queue.get_nowait() is not None
            except queue.Empty:
                return frames


class _FlooredEstimator:
    """aiortc takes a busy processor's delays for a congested path, goes down to nothing and needs a minute back.

    On a path that is congested in fact, the publisher's own control acts on the loss.
    """

    def __init__(self, estimator: RemoteBitrateEstimator, floor: int) -> None:
        self._estimator = estimator
        self._floor = floor

    def add(self, **packet: Any) -> tuple[int, list[int]] | None:
        estimate = self._estimator.add(**packet)
        if estimate is None or estimate[0] >= self._floor:
            return estimate
        self._estimator.rate_control.current_bitrate = self._floor
        return self._floor, estimate[1]


class _Decoded:
    """Takes the place of the track's queue; aiortc's decoder thread calls put() and hands its coroutine to the loop."""

    def __init__(self, decoder: _DecoderQueue) -> None:
        self._decoder = decoder

    def put(self, frame: av.VideoFrame | None) -> Any:
        if frame is not None:
            self._decoder.decoded(frame)
        return _nothing()


class _PacketQueue:
    """Takes the place of the queue to an audio decoder, whose thread then only waits for the end."""

    def __init__(self, sink: AudioSink) -> None:
        self._sink = sink
        self._end: queue.Queue[None] = queue.Queue()

    def put(self, task: tuple[Any, ReceivedData] | None) -> None:
        if task is None:
            self._end.put(None)
            return
        codec, data = task
        packet = av.Packet(data.data)
        packet.pts, packet.time_base = data.timestamp, Fraction(1, codec.clockRate)
        self._sink.receive(packet, data.arrived)

    def get(self) -> None:
        return self._end.get()


async def _nothing() -> None:
    pass


def _keep_after_bye(receiver: RTCRtpReceiver) -> None:
    """A BYE ends aiortc's decoder for good, but Chromium sends one when a camera is only switched off."""
    handle = receiver._handle_rtcp_packet

    async def handle_unless_bye(packet: Any) -> None:
        if not isinstance(packet, RtcpByePacket):
            await handle(packet)

    receiver._handle_rtcp_packet = handle_unless_bye
