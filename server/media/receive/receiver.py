"""What the relay does with a publisher's packets: decoded video and undecoded audio go to their sinks.

packets ─▶ depacketizer ─▶ jitter buffer ─▶ decoder's thread ─▶ sink
              │                 └─▶ retransmissions (NACK) and keyframes (PLI) are asked for
              └─▶ receiver reports, and what tells the publisher of its path: when each packet came, or a bitrate (REMB)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpRtpfbPacket,
    pack_remb_fci,
)
from aiortc.utils import random32

from server.media.negotiation import Section
from server.media.receive.arrivals import Arrivals
from server.media.receive.capture import CaptureClock
from server.media.receive.congestion import BurstEstimate, GrantedBitrate
from server.media.receive.decode import Decoder, DecoderSink
from server.media.receive.depacketize import Depacketizer
from server.media.receive.gate import FrameRules
from server.media.receive.jitter import AudioForwarding, ReceivedData, ReceiveEvents, VideoJitterBuffer
from server.media.receive.repair import KeyframeRequests, RoundTrip
from server.media.receive.reports import Reports
from server.media.receive.rtp import Packet
from server.supervision import Tasks, off_the_loop, supervised

CLOSE_SECONDS = 6.0  # that the decoder's end is waited for
PROBE_INTERVAL = 1.0  # seconds between measurements of the round trip
SILENCE = 2.0  # seconds without a packet, after which nothing is asked for any more


class Peer(Protocol):
    """The publisher, as its receivers reach it."""

    def send_rtcp(self, packet: bytes) -> None: ...
    async def round_trip(self) -> float | None:
        """Seconds; None where the peer does not answer."""


class VideoSink(DecoderSink, ReceiveEvents, Protocol):
    """Where decoded video goes, called from the stream's decoder thread, and what became of the rest, from the loop."""

    capture: CaptureClock

    def asked_for_keyframe(self, reason: str) -> None: ...


class AudioSink(Protocol):
    """Where Opus packets go; called in the event loop."""

    capture: CaptureClock

    def receive(self, packet: ReceivedData) -> None: ...


class Receiver(Protocol):
    """Of one section of an offer. All of it is for the event loop."""

    section: Section

    def start(self) -> None:
        """Once there is a connection."""

    def receive(self, packet: Packet) -> None: ...
    def receive_rtcp(self, packet: AnyRtcpPacket) -> None: ...
    async def close(self) -> None: ...


class VideoReceiver:
    """Asks for what is missing of a video stream, and goes on without it."""

    def __init__(
        self,
        section: Section,
        peer: Peer,
        sink: VideoSink,
        min_bitrate: int,
        clock: Callable[[], float] = time.monotonic,
        rules: FrameRules = FrameRules(),  # noqa: B008  # frozen
    ) -> None:
        """min_bitrate: bit/s that the publisher is granted on each path that is not too narrow (`GrantedBitrate`)."""
        self.section = section
        self._last_arrival: float | None = None  # of any packet, clock seconds
        self._peer = peer
        self._sink = sink
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._own_ssrc = random32()
        codecs = section.by_payload_type
        self._codecs = {payload_type: codec.name for payload_type, codec in codecs.items()}
        self._reports = Reports(self._own_ssrc, sink.capture, peer.send_rtcp, clock)
        self._loss_share = 0.0
        granted = GrantedBitrate(RemoteBitrateEstimator(), min_bitrate, lambda: self._loss_share)
        self._estimate = BurstEstimate(granted)
        self._arrivals = Arrivals(self._own_ssrc, peer.send_rtcp)
        self._depacketizer = Depacketizer(codecs, section.repair_ssrcs, self._reports.count, self._add)
        self._round_trip = RoundTrip()
        self._jitter = VideoJitterBuffer(self._codecs.__getitem__, sink, self._round_trip, clock)
        self._requests = KeyframeRequests(self._round_trip, clock)
        self._decoder = Decoder(sink, lambda: self._await_keyframe("backlog"), self._decoder_failed, clock, rules)
        self._ssrc = 0
        self._probed = float("-inf")
        self._counted = 0, 0  # packets expected and received, at the last probe
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = Tasks("a receiver's task")

    def start(self) -> None:
        self._decoder.start()
        self._tasks.run(supervised("reports", self._reports.run, self._sink.failed))

    async def close(self) -> None:
        self._tasks.cancel()
        self._set_timer(None)
        self._decoder.stop()
        await off_the_loop(self._decoder.close, CLOSE_SECONDS, "close-decoder")

    def receive(self, packet: Packet) -> None:
        if packet.transport_number is not None:
            self._arrivals.add(packet.transport_number, packet.arrived, packet.ssrc)
        elif (granted := self._estimate.add(packet)) is not None:
            self._send(RtcpPsfbPacket(RTCP_PSFB_APP, self._own_ssrc, 0, pack_remb_fci(*granted)))
        self._depacketizer.add(packet)

    def receive_rtcp(self, packet: AnyRtcpPacket) -> None:
        self._reports.receive(packet)

    # --- inside

    def _add(self, packet: Packet) -> None:
        self._last_arrival, self._ssrc = self._clock(), packet.ssrc
        self._decode(self._jitter.add(packet))
        if self._timer is not None or not self._jitter.calm:
            self._ask()
        if self._last_arrival - self._probed >= PROBE_INTERVAL:
            self._probed = self._last_arrival
            self._tasks.run(self._probe())
            self._count_loss()

    def _decode(self, frames: list[ReceivedData]) -> None:
        for frame in frames:
            self._sink.capture.counted(frame.ssrc, frame.sent, frame.timestamp)
            if not self._decoder.put(self._codecs[frame.payload_type], frame):
                break  # what follows cannot be decoded without what was thrown away

    def _decoder_failed(self) -> None:
        """In the decoder's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._await_keyframe, "decoder")

    def _await_keyframe(self, reason: str) -> None:
        self._jitter.await_keyframe(reason)
        self._ask()

    def _ask(self) -> None:
        """Sends the requests that are due, and sets the timer for the next."""
        if asked := self._jitter.retransmissions.ask():
            lost = sorted({number & 0xFFFF for number in asked})
            self._send(RtcpRtpfbPacket(RTCP_RTPFB_NACK, self._own_ssrc, self._ssrc, lost))
        due = self._jitter.due
        if reason := self._jitter.wants_keyframe:
            if self._requests.ask():
                self._sink.asked_for_keyframe(reason)
                self._send(RtcpPsfbPacket(RTCP_PSFB_PLI, self._own_ssrc, self._ssrc))
            due = min(self._requests.due, self._requests.due if due is None else due)
        self._set_timer(due)

    def _set_timer(self, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = None if due is None else max(0.0, due - self._clock())
        self._timer = None if delay is None else self._loop.call_later(delay, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        if self._last_arrival is not None and self._clock() - self._last_arrival < SILENCE:
            self._decode(self._jitter.release())
            self._ask()

    def _count_loss(self) -> None:
        """Of the packets as they were first sent: retransmissions are a stream of their own."""
        if (stream := self._reports.streams.get(self._ssrc)) is None:
            return
        counted = stream.packets_expected, stream.packets_received
        expected, received = (now - before for now, before in zip(counted, self._counted, strict=True))
        self._counted = counted
        self._loss_share = max(0.0, 1 - received / expected) if expected > 0 else 0.0

    async def _probe(self) -> None:
        taken = await self._peer.round_trip()
        if taken is not None:
            self._round_trip.add(taken)

    def _send(self, packet: AnyRtcpPacket) -> None:
        self._peer.send_rtcp(bytes(packet))


class AudioReceiver:
    """Hands Opus packets on undecoded."""

    def __init__(
        self, section: Section, peer: Peer, sink: AudioSink, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.section = section
        self._sink = sink
        self._forwarding = AudioForwarding(clock)
        self._reports = Reports(random32(), sink.capture, peer.send_rtcp, clock)
        codecs = section.by_payload_type
        self._depacketizer = Depacketizer(codecs, section.repair_ssrcs, self._reports.count, self._forward)
        self._tasks = Tasks("a receiver's task")

    def start(self) -> None:
        self._tasks.run(supervised("reports", self._reports.run))

    async def close(self) -> None:
        self._tasks.cancel()

    def receive(self, packet: Packet) -> None:
        self._depacketizer.add(packet)

    def receive_rtcp(self, packet: AnyRtcpPacket) -> None:
        self._reports.receive(packet)

    def _forward(self, packet: Packet) -> None:
        data = self._forwarding.add(packet)
        if data is not None:
            self._sink.capture.counted(data.ssrc, data.sent, data.timestamp)
            self._sink.receive(data)
