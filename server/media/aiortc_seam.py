"""All that touches the inside of aiortc. `tests/media/test_seam.py` fails when what is relied on changes.

Written against aiortc 1.15 and 1.16. Everything is set on single objects; no module of aiortc is patched.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import Any, Protocol

import av
from aioice.stun import TransactionError
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver
from aiortc.codecs import get_encoder
from aiortc.codecs.base import Encoder
from aiortc.mediastreams import VIDEO_TIME_BASE, convert_timebase
from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtp import RtcpByePacket

from server.media.bitrate import Bitrates, TargetBitrate
from server.media.jitter import AudioForwarding, ReceivedData, VideoJitterBuffer

DECODER_BACKLOG = 64  # encoded frames; more than two seconds behind, only a new keyframe helps
KEYFRAME_INTERVAL = 0.5  # seconds between keyframes that watchers ask for


class UnsupportedOffer(ValueError):
    """The offer holds no codec that the relay speaks; the message says which would be right."""


class VideoSink(Protocol):
    """Where decoded video goes; called from the stream's decoder thread."""

    def receive(self, frame: av.VideoFrame, received: float) -> None:
        """received: when the frame's last packet was taken from the network, in clock seconds."""

    def lost(self, frames: int) -> None: ...
    def stage(self, name: str, seconds: float) -> None: ...


class AudioSink(Protocol):
    """Where Opus packets go; called in the event loop."""

    def receive(self, packet: av.Packet, received: float) -> None: ...


class SentFrames(Protocol):
    """Told by the encoder of one watcher; called from encoder threads."""

    def encoded(self, seconds: float) -> None: ...
    def keyframe(self, reason: str) -> None: ...


# --- negotiation ---------------------------------------------------------------------------------------------------


def choose_codecs(pc: RTCPeerConnection, bitrates: Bitrates) -> None:
    """Between setRemoteDescription and createAnswer: VP8 before H264, and Opus as the only audio.

    A preference set with setCodecPreferences after the offer has no effect. aiortc's H264 encoder takes three times
    the time of its VP8 encoder. Chromium begins at 300 kbit/s and takes 20 s and more to reach 720p unless the
    answer's fmtp tells it where to begin (`x-google-start-bitrate`, kbit/s).
    Raises UnsupportedOffer without a common codec.
    """
    for transceiver in pc.getTransceivers():
        codecs = transceiver._codecs
        if transceiver.kind == "video":
            vp8 = {codec.payloadType for codec in codecs if codec.mimeType.lower() == "video/vp8"}
            codecs.sort(key=lambda codec: codec.parameters.get("apt", codec.payloadType) not in vp8)
            for codec in codecs:
                if codec.name.lower() != "rtx":
                    codec.parameters["x-google-start-bitrate"] = bitrates.start // 1000
        else:
            codecs[:] = [codec for codec in codecs if codec.mimeType.lower() == "audio/opus"]
            for codec in codecs:
                codec.parameters.update({"minptime": 10, "useinbandfec": 1})
            if not codecs:
                raise UnsupportedOffer("The offer's audio has no Opus: offer opus/48000/2.")


def remote_ufrag(pc: RTCPeerConnection) -> str | None:
    """The ICE user name fragment of the offer. After setRemoteDescription."""
    return next((ice.usernameFragment for ice in pc._RTCPeerConnection__remoteIce.values()), None)


# --- receiving -----------------------------------------------------------------------------------------------------


def receive_video(
    receiver: RTCRtpReceiver, sink: VideoSink, min_bitrate: int, clock: Callable[[], float] = time.monotonic
) -> Arrivals:
    """Leads a receiver's decoded frames to the sink instead of aiortc's unbounded track queue. Before it starts.

    min_bitrate: bit/s that the publisher is always granted.
    """
    jitter = VideoJitterBuffer(clock)
    decoder = _DecoderQueue(sink, _private(receiver, "decoder_error"), clock)
    _set_private(receiver, "jitter_buffer", jitter)
    _set_private(receiver, "decoder_queue", decoder)
    estimator = _private(receiver, "remote_bitrate_estimator")
    _set_private(receiver, "remote_bitrate_estimator", _FlooredEstimator(estimator, min_bitrate))
    receiver.track._queue = _Decoded(decoder)
    _keep_after_bye(receiver)
    return jitter


def receive_audio(receiver: RTCRtpReceiver, sink: AudioSink, clock: Callable[[], float] = time.monotonic) -> Arrivals:
    """Leads a receiver's Opus packets to the sink undecoded. Before it starts."""
    forwarding = AudioForwarding(clock)
    _set_private(receiver, "jitter_buffer", forwarding)
    _set_private(receiver, "decoder_queue", _PacketQueue(sink))
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


class SignsOfLife:
    """When anything at all last came from a peer, connectivity checks included. aiortc waits 30 s before it gives up.

    Made after setRemoteDescription, which bundles the transports.
    """

    def __init__(self, pc: RTCPeerConnection, clock: Callable[[], float] = time.monotonic) -> None:
        self.last: float | None = None
        self._clock = clock
        transports = {transceiver.receiver.transport.transport for transceiver in pc.getTransceivers()}
        self._connections = [transport._connection for transport in transports]
        for connection in self._connections:
            for name in ("request_received", "data_received"):
                setattr(connection, name, self._noting(getattr(connection, name)))

    async def ask(self) -> None:
        """Sends a connectivity check, which every peer that is still there answers (RFC 7675)."""
        for connection in self._connections:
            for pair in connection._nominated.values():
                request = connection.build_request(pair, nominate=False)
                key = connection.remote_password.encode()
                with suppress(TransactionError, OSError):
                    await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
                    self.last = self._clock()

    def _noting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            self.last = self._clock()
            return call(*args)

        return noted


# --- sending -------------------------------------------------------------------------------------------------------


def send_video(
    transceiver: RTCRtpTransceiver, sent: SentFrames, bitrates: Bitrates, clock: Callable[[], float] = time.monotonic
) -> None:
    """Gives a sender its encoder before it starts: measured, within the bitrates, keyframes coalesced."""
    encoder = MeasuredEncoder(get_encoder(transceiver._codecs[0]), sent, bitrates, clock)
    _set_private(transceiver.sender, "encoder", encoder)


class MeasuredEncoder(Encoder):
    """Wraps one of aiortc's video encoders, whose limits are module constants (VP8 at most 1.5 Mbit/s)."""

    def __init__(self, inner: Encoder, sent: SentFrames, bitrates: Bitrates, clock: Callable[[], float]) -> None:
        self._inner = inner
        self._sent = sent
        self._clock = clock
        self._target = TargetBitrate(bitrates, clock)
        self._asked = False
        self._last_keyframe = float("-inf")

    def encode(self, frame: av.VideoFrame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        started = self._clock()
        self._asked |= force_keyframe
        due = self._asked and started - self._last_keyframe >= KEYFRAME_INTERVAL
        setattr(self._inner, f"_{type(self._inner).__name__}__target_bitrate", self._target.value)
        codec = self._inner.codec
        if codec is None:
            reason = "start"
        elif (codec.width, codec.height) != (frame.width, frame.height):
            reason = "resize"
        elif abs(self._target.value - codec.bit_rate) > 0.1 * codec.bit_rate:
            reason = "bitrate"
        else:
            reason = "request" if due else None
        timestamp = convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)
        payloads, _ = self._inner.encode(frame, due)  # whose timestamps PyAV rounds to microseconds and back
        if reason:
            self._asked, self._last_keyframe = False, started
            self._sent.keyframe(reason)
        self._target.sent(sum(map(len, payloads)))
        self._sent.encoded(self._clock() - started)
        return payloads, timestamp

    def pack(self, packet: av.Packet) -> tuple[list[bytes], int]:
        return self._inner.pack(packet)

    @property
    def target_bitrate(self) -> int:
        return self._target.value

    @target_bitrate.setter
    def target_bitrate(self, estimate: int) -> None:
        self._target.estimated(estimate)


# --- name mangling -------------------------------------------------------------------------------------------------


def _private(owner: RTCRtpReceiver | RTCRtpSender, name: str) -> Any:
    return getattr(owner, f"_{type(owner).__name__}__{name}")


def _set_private(owner: RTCRtpReceiver | RTCRtpSender, name: str, value: Any) -> None:
    _private(owner, name)  # AttributeError where aiortc has renamed it
    setattr(owner, f"_{type(owner).__name__}__{name}", value)
