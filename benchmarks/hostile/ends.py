"""Ends of a session and of a stream, without a network or a thread, which check what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random
from types import SimpleNamespace

import av
import numpy as np
from aiortc import RTCDtlsParameters, RTCIceParameters, RTCRtpHeaderExtensionParameters
from aiortc.rtcdtlstransport import RTCDtlsFingerprint
from aiortc.rtp import RTP_HISTORY_SIZE, RtcpPacket

from benchmarks.hostile import packets
from benchmarks.hostile.sdp import OFFERS
from benchmarks.shared.stand_ins import EnlargingEngine
from hime_core.compositing.layout import LAYOUTS
from hime_core.compositing.render import Renderer
from hime_core.faces.detector import Detection
from hime_core.faces.geometry import Box
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer, EnhancerConfig
from hime_core.video.coding import Coding
from hime_core.video.picture import Picture
from server.media import transport_cc
from server.media.negotiation import (
    Offer,
    common_sections,
)
from server.media.receive.capture import CaptureClock
from server.media.receive.jitter import CAPACITY
from server.media.receive.receiver import AudioReceiver, VideoReceiver
from server.media.receive.reports import MOST_STREAMS
from server.media.send.bitrate import Bitrates
from server.media.send.pacing import Pacer
from server.media.send.sender import REPEAT_BURST, REPEAT_SHARE, VideoSender
from server.media.send.tracks import EncodedFrame, VideoFeed, VideoTrack
from server.media.session import Session

PAYLOAD = b"payload" * 150  # of a packet
NUMBER_ID = 3  # of the extension that numbers packets
MAX_BYTES, MAX_PIXELS = 10_000_000, 40_000_000


class Transport:
    """What an answer is written from, and what is sent to."""

    candidates = ()
    ice_parameters = RTCIceParameters(usernameFragment="abcd", password="p" * 22)
    congested = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.told: list[bytes] = []

    def dtls_parameters(self, role: str) -> RTCDtlsParameters:
        return RTCDtlsParameters([RTCDtlsFingerprint("sha-256", "AB:" * 31 + "AB")], role)

    def send_rtp(self, data: Iterable[bytes]) -> None:
        self.sent += data

    def send_rtcp(self, data: bytes) -> None:
        self.told.append(data)

    async def round_trip(self) -> float | None:
        return 0.02


class AnyFace:
    """Finds a face wherever chance will have it."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        height, width = rgb.shape[:2]
        box = Box(*(self._rng.uniform(-0.5, 1.5) * side for side in (width, height)), 0.6 * width, 0.8 * height)
        points = np.array([[self._rng.uniform(0, width), self._rng.uniform(0, height)] for _ in range(5)], np.float32)
        return [Detection(box, points, 0.99)] * self._rng.randint(0, 2)


class Sink:
    """Of a stream; checks what comes to it."""

    def __init__(self) -> None:
        self.capture = CaptureClock(90000)
        self.frames: list[tuple[av.VideoFrame, Coding | None]] = []

    def receive(self, frame: av.VideoFrame, received: float, coding: Coding | None) -> None:
        assert frame.pts is not None and frame.time_base is not None
        self.frames.append((frame, coding))

    def lost(self, frames: int) -> None: ...
    def stage(self, name: str, seconds: float) -> None: ...
    def failed(self, part: str) -> None:
        raise AssertionError(f"the {part} failed")

    def packets(self, outcome: str, count: int) -> None:
        assert count >= 0

    def refused(self, reason: str) -> None: ...
    def skipped(self, frames: int) -> None:
        assert frames >= 0

    def asked_for_keyframe(self, reason: str) -> None: ...


@dataclass
class Timer:
    """at: clock seconds."""

    at: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Receiving:
    """A session's ends, without a network or a thread, in time that the test has. To be made in an event loop."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._left = 0  # packets of media that were sent, be it again
        self.transport, self.sink = Transport(), Sink()
        audio = SimpleNamespace(capture=CaptureClock(48000), receive=lambda packet: None)
        clock = lambda: self.now  # noqa: E731
        read = Offer.parse(next(text for text in OFFERS if "sendrecv" in text and "m=audio" in text))
        sections = {section.kind: section for section in common_sections(read, 2_000_000)}
        numbered = RTCRtpHeaderExtensionParameters(id=NUMBER_ID, uri=transport_cc.URI)
        video = sections["video"]
        sections["video"] = replace(video, extensions=(*video.extensions, numbered))
        self.video = VideoReceiver(sections["video"], self.transport, self.sink, 300_000, clock)
        self.video._decoder.put = lambda codec, frame: self.decoded.append(codec) is None
        self.audio = AudioReceiver(sections["audio"], self.transport, audio, clock)
        self.decoded: list[str] = []
        track = VideoTrack(Bitrates(), VideoFeed(self.sink.capture), clock)
        self.sender = VideoSender(sections["video"], self.transport, track, "name")
        self._timers: list[Timer] = []
        self.sender._pacer = Pacer(lambda: track.path.rate, clock, self._later)
        self.sender.send(EncodedFrame([PAYLOAD] * RTP_HISTORY_SIZE, 0, True, self.now))
        session = Session.__new__(Session)  # without a transport of its own
        session._clock, session._send_time_id, session._number_id = clock, 2, NUMBER_ID
        session._receivers, session._senders = [self.video, self.audio], [self.sender]
        session._by_payload_type = {number: one for one in session._receivers for number in one.section.by_payload_type}
        self.session = session
        ssrcs = self.sender.description.ssrc, 3409705383, 1180234123, 2231631, 1
        self.target = packets.Target(tuple(session._by_payload_type), ssrcs)

    def rtp(self, data: bytes) -> None:
        self.session._receive_rtp(data)
        self._bounded()

    def rtcp(self, data: bytes) -> None:
        before = len(self.transport.sent)
        self.session._receive_rtcp(data)
        assert len(self.transport.sent) - before <= RTP_HISTORY_SIZE, "one packet asks for far more than it is"
        self._bounded()

    def _later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self._timers.append(Timer(self.now + seconds, call))
        return self._timers[-1]

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while due := sorted(
            (one for one in self._timers if not one.cancelled and one.at <= end), key=lambda one: one.at
        ):
            self.now = due[0].at
            self._timers.remove(due[0])
            due[0].call()
        self._timers = [one for one in self._timers if not one.cancelled]
        self.now = end
        self.video._time_is_up()
        for receiver in (self.video, self.audio):
            bytes(receiver._reports.report())
        if (report := self.sender._reports.report()) is not None:
            RtcpPacket.parse(report)
        for told in self.transport.told:
            RtcpPacket.parse(told)
        self.transport.told.clear()
        stream = self.sender._stream
        self._left += sum(not packet[0] & 0x20 for packet in self.transport.sent)  # all but padding
        repeated, most = self._left - stream.packets, REPEAT_BURST + REPEAT_SHARE * stream.packets
        assert repeated <= most, "a request for what is lost is answered without end"
        self.sender.send(EncodedFrame([PAYLOAD] * 3, round(90000 * (self.now - 1000)), False, self.now))
        self.transport.sent.clear()

    async def close(self) -> None:
        await self.video.close()
        await self.audio.close()

    def _bounded(self) -> None:
        jitter, reports = self.video._jitter, self.video._reports
        assert len(jitter._packets) <= CAPACITY + 1 and len(jitter.retransmissions._missing) <= 2 * CAPACITY
        assert len(jitter._intra) <= CAPACITY + 1
        assert len(reports.streams) <= MOST_STREAMS and len(reports._sender_reports) <= MOST_STREAMS
        assert len(self.video._estimate._estimator._estimator.ssrcs) <= 2 * MOST_STREAMS
        assert len(self.video._tasks._running) < 2000


class Enhancing:
    """A stream's enhancer, with a detector that finds faces anywhere."""

    def __init__(self, rng: Random) -> None:
        found = AnyFace(rng)
        self._enhancer = Enhancer(
            EnlargingEngine(),
            SimpleNamespace(detect=lambda rgb, last=(): found.detect(rgb)),
            People(),
            EnhancerConfig(),
            lambda: self._now,
            lambda name, seconds: None,
            None,
        )
        self._now = 0.0
        self._renderers = [Renderer(view, layout) for view in ("enhanced", "compare") for layout in LAYOUTS]

    def frame(self, width: int, height: int, rng: Random) -> None:
        self._now += 0.04
        rgb = np.full((max(2, height), max(2, width), 3), rng.randrange(256), np.uint8)
        picture = Picture.from_rgb(rgb)
        done = self._enhancer.finish(self._enhancer.begin(picture, self._now))
        assert done.picture is picture and done.outcome in ("enhanced", "carried", "passed")
        view = rng.choice(self._renderers).render(done)
        assert not view.width % 2 and not view.height % 2

    def close(self) -> None:
        self._enhancer.close()
