"""All that touches the inside of aiortc's receivers. `tests/media/test_receive.py` fails when it changes.

Written against aiortc 1.15 and 1.16. Everything is set on single objects; no module of aiortc is patched.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Coroutine
from fractions import Fraction
from functools import cache
from typing import Any, Protocol

import av
from aiortc import RTCRtpReceiver
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtcpByePacket, RtcpSrPacket

from server.media.aiortc_connection import round_trip
from server.media.aiortc_decode import DecoderQueue, DecoderSink
from server.media.aiortc_inbound import Inbound
from server.media.aiortc_private import private, set_private
from server.media.capture import CaptureClock
from server.media.congestion import GrantedBitrate
from server.media.jitter import AudioForwarding, ReceivedData, ReceiveEvents, VideoJitterBuffer
from server.media.repair import KeyframeRequests, RoundTrip
from server.media.rtp import Packet

PROBE_INTERVAL = 1.0  # seconds between measurements of the round trip
SILENCE = 2.0  # seconds without a packet, after which nothing is asked for any more


class VideoSink(DecoderSink, ReceiveEvents, Protocol):
    """Where decoded video goes, called from the stream's decoder thread, and what became of the rest, from the loop."""

    capture: CaptureClock

    def asked_for_keyframe(self, reason: str) -> None: ...


class AudioSink(Protocol):
    """Where Opus packets go; called in the event loop."""

    capture: CaptureClock

    def receive(self, packet: av.Packet, received: float) -> None: ...


def receive_video(
    receiver: RTCRtpReceiver, sink: VideoSink, min_bitrate: int, clock: Callable[[], float] = time.monotonic
) -> Reception:
    """Leads a receiver's decoded frames to the sink instead of aiortc's unbounded track queue. Before it starts.

    min_bitrate: bit/s that the publisher is granted on every path that is not too narrow for them (`GrantedBitrate`).
    """
    reception = _VideoReception(receiver, sink, min_bitrate, clock)
    set_private(receiver, "jitter_buffer", reception)
    set_private(receiver, "nack_generator", None)
    set_private(receiver, "decoder_queue", reception.decoder)
    _read_reports(receiver, sink.capture)
    return reception


def receive_audio(receiver: RTCRtpReceiver, sink: AudioSink, clock: Callable[[], float] = time.monotonic) -> Reception:
    """Leads a receiver's Opus packets to the sink undecoded. Before it starts."""
    reception = _AudioReception(receiver, sink, clock)
    set_private(receiver, "jitter_buffer", reception.forwarding)
    set_private(receiver, "decoder_queue", reception.packets)
    _read_reports(receiver, sink.capture)
    return reception


class Reception(Protocol):
    @property
    def last_arrival(self) -> float | None:
        """Of any packet, in clock seconds."""

    def take(self, packet: Packet) -> None:
        """Takes a packet as aiortc's receiver would."""


class _VideoReception:
    """Between aiortc's packets and its decoder: asks for what is missing, and goes on without it.

    Takes the place of the jitter buffer, which hands frames on only when a packet comes, and of the generator of NACKs,
    which sends none again until another packet is lost.
    """

    def __init__(self, receiver: RTCRtpReceiver, sink: VideoSink, min_bitrate: int, clock: Callable[[], float]) -> None:
        self.last_arrival: float | None = None
        self.decoder = DecoderQueue(sink, lambda: self._loss("backlog"), self.decoder_failed, clock)
        self._loss_share = 0.0
        estimator = GrantedBitrate(private(receiver, "remote_bitrate_estimator"), min_bitrate, lambda: self._loss_share)
        set_private(receiver, "remote_bitrate_estimator", None)  # aiortc's own way is only the first packets'
        self.take = Inbound(receiver, lambda packet, codec: self.add(packet), estimator).take
        self._receiver = receiver
        self._sink = sink
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._codecs: dict[int, Any] = private(receiver, "codecs")  # by payload type; filled when the receiver starts
        self._streams: dict[int, StreamStatistics] = private(receiver, "remote_streams")  # by SSRC, filled as they come
        self._round_trip = RoundTrip()
        name = cache(lambda kind: self._codecs[kind].name)
        self._jitter = VideoJitterBuffer(name, sink, self._round_trip, clock)
        self._requests = KeyframeRequests(self._round_trip, clock)
        self._ssrc = 0
        self._probed = float("-inf")
        self._counted = 0, 0  # packets expected and received, at the last probe
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, packet: Packet) -> tuple[bool, None]:
        """Neither asks aiortc for a keyframe nor gives it a frame: both leave from here."""
        self.last_arrival, self._ssrc = self._clock(), packet.ssrc
        self._hand_on(self._jitter.add(packet))
        if self._timer is not None or not self._jitter.calm:
            self._ask()
        if self.last_arrival - self._probed >= PROBE_INTERVAL:
            self._probed = self.last_arrival
            self._start(self._probe())
            self._count_loss()
        return False, None

    def decoder_failed(self) -> None:
        """In the decoder's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loss, "decoder")

    def _loss(self, reason: str) -> None:
        self._jitter.await_keyframe(reason)
        self._ask()

    def _hand_on(self, frames: list[ReceivedData]) -> None:
        for frame in frames:
            self._sink.capture.counted(frame.ssrc, frame.sent, frame.timestamp)
            if not self.decoder.put((self._codecs[frame.payload_type], frame)):
                break  # what follows cannot be decoded without what was thrown away

    def _ask(self) -> None:
        """Sends the requests that are due, and sets the timer for the next."""
        if asked := self._jitter.retransmissions.ask():
            self._start(self._receiver._send_rtcp_nack(self._ssrc, [number & 0xFFFF for number in asked]))
        due = self._jitter.due
        if reason := self._jitter.wants_keyframe:
            if self._requests.ask():
                self._sink.asked_for_keyframe(reason)
                self._start(self._receiver._send_rtcp_pli(self._ssrc))
            due = min(self._requests.due, self._requests.due if due is None else due)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - self._clock()), self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        if self.last_arrival is not None and self._clock() - self.last_arrival < SILENCE:
            self._hand_on(self._jitter.release())
            self._ask()

    def _count_loss(self) -> None:
        """Of the packets as they were first sent: retransmissions are a stream of their own."""
        if (stream := self._streams.get(self._ssrc)) is None:
            return
        counted = stream.packets_expected, stream.packets_received
        expected, received = (now - before for now, before in zip(counted, self._counted, strict=True))
        self._counted = counted
        self._loss_share = max(0.0, 1 - received / expected) if expected > 0 else 0.0

    async def _probe(self) -> None:
        taken = await round_trip(self._receiver.transport.transport, self._clock)
        if taken is not None:
            self._round_trip.add(taken)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _AudioReception:
    """Between aiortc's packets and whoever forwards them."""

    def __init__(self, receiver: RTCRtpReceiver, sink: AudioSink, clock: Callable[[], float]) -> None:
        self.forwarding = AudioForwarding(clock)
        self.packets = _PacketQueue(sink)
        self.take = Inbound(receiver, self._add, None).take
        self._timestamps = private(receiver, "timestamp_mapper")

    @property
    def last_arrival(self) -> float | None:
        return self.forwarding.last_arrival

    def _add(self, packet: Packet, codec: Any) -> None:
        _, data = self.forwarding.add(packet)
        if data is not None:
            data.timestamp = self._timestamps.map(data.timestamp)
            self.packets.put((codec, data))


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
        self._sink.capture.counted(data.ssrc, data.sent, data.timestamp)
        packet = av.Packet(data.data)
        packet.pts, packet.time_base = data.timestamp, Fraction(1, codec.clockRate)
        self._sink.receive(packet, data.arrived)

    def get(self) -> None:
        return self._end.get()


def _read_reports(receiver: RTCRtpReceiver, capture: CaptureClock) -> None:
    """Tells the clock of them. A BYE ends aiortc's decoder for good, but Chromium sends one when a camera is only
    switched off: it is kept from it."""
    handle = receiver._handle_rtcp_packet

    async def read(packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket):
            capture.reported(packet.ssrc, packet.sender_info.ntp_timestamp, packet.sender_info.rtp_timestamp)
        if not isinstance(packet, RtcpByePacket):
            await handle(packet)

    receiver._handle_rtcp_packet = read
