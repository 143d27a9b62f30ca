"""A watcher who asks for what is missing until it comes, behind a simulated path, on a clock of its own."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from aiortc import RTCRtpHeaderExtensionParameters
from aiortc.rtp import RTCP_RTPFB_NACK, HeaderExtensionsMap, RtcpRtpfbPacket, RtpPacket, unwrap_rtx

from server.media.receive.arrivals import Arrivals
from server.media.receive.capture import CaptureClock
from server.media.send.bitrate import Bitrates, PathEstimate
from server.media.send.pacing import Pacer
from server.media.send.path_measure import PathMeasure
from server.media.send.sender import VideoSender
from server.media.send.tracks import EncodedFrame, VideoFeed, VideoTrack
from server.media.transport_cc import URI, Feedback
from tests.unit.sections import RTX, VP8, section
from tests.unit.simulated_path import Clock

NUMBERED = RTCRtpHeaderExtensionParameters(id=13, uri=URI)
EXTENSIONS = HeaderExtensionsMap()
EXTENSIONS.configure(SimpleNamespace(headerExtensions=[NUMBERED]))
ASK = 0.1  # seconds between two requests for all that is missing
QUEUE, DELAY = 0.2, 0.02  # seconds
REMEMBERED = 400  # packets, of which the watcher still misses some


class Asking:
    """It gets 25 frames a second at the rate that its path is known to carry. Made in the event loop."""

    congested = False

    def __init__(self, rate: float, loss: float) -> None:
        self.clock, self._chance = Clock(), random.Random(1)
        self._rate, self._loss, self._free = rate, loss, 0.0
        self.sent = self.lost = 0  # packets
        self._came: set[int] = set()
        limits, spoken = Bitrates(), section(VP8, RTX)
        self.track = VideoTrack(limits, VideoFeed(CaptureClock(90000)), self.clock)
        self.track.path = PathEstimate(limits, self.clock)
        spoken = replace(spoken, extensions=(*spoken.extensions, NUMBERED))
        sender = self.sender = VideoSender(spoken, self, self.track, "name")
        measure = PathMeasure(self.track.path, sender._send_padding, self.clock, self.clock.later)
        sender._measure, sender._stream._numbered = measure, measure.number
        sender._stream._history._clock = self.clock
        sender._pacer = Pacer(lambda: self.track.path.rate, self.clock, self.clock.later)
        tell = lambda message: self.clock.later(DELAY, lambda: measure.add(Feedback.parse(message)))  # noqa: E731
        self._arrivals = Arrivals(1, tell)
        self.track.start(sender)
        self._frame()
        self._ask()

    def _frame(self) -> None:
        size = int(min(self.track.path.rate, 1_000_000) / 25 / 8 * self._chance.uniform(0.7, 1.3))
        payloads = [bytes(min(1200, size - at)) for at in range(0, size, 1200)]
        self.track.put(EncodedFrame(payloads, round(90000 * self.clock.now), True, self.clock.now))
        self.clock.later(0.04, self._frame)

    def send_rtp(self, packets: Iterable[bytes]) -> None:
        for data in packets:
            self.sent += 1
            begins = max(self.clock.now, self._free)
            if begins - self.clock.now > QUEUE or self._chance.random() < self._loss:
                self.lost += 1
                continue
            self._free = begins + 8 * len(data) / self._rate
            self.clock.later(self._free + DELAY - self.clock.now, lambda data=data: self._arrive(data))

    def send_rtcp(self, packet: bytes) -> None:
        """Reports, which tell nothing here."""

    def _arrive(self, data: bytes) -> None:
        packet = RtpPacket.parse(data, EXTENSIONS)
        self._arrivals.add(packet.extensions.transport_sequence_number, self.clock.now, packet.ssrc)
        if packet.payload_type == RTX.payloadType:
            if len(packet.payload) < 2:  # padding
                return
            packet = unwrap_rtx(packet, VP8.payloadType, self.sender.description.ssrc)
        self._came.add(packet.sequence_number)

    def _ask(self) -> None:
        if self._came:
            last = max(self._came)
            known = range(max(min(self._came), last - REMEMBERED), last)
            if missing := [number for number in known if number not in self._came]:
                ssrc = self.sender.description.ssrc
                self.sender.receive_rtcp(RtcpRtpfbPacket(RTCP_RTPFB_NACK, ssrc=1, media_ssrc=ssrc, lost=missing))
        self.clock.later(ASK, self._ask)


@pytest.mark.parametrize("loss", [0.0, 0.05])
async def test_repairs_do_not_fill_a_narrow_path(loss: float) -> None:
    asking = Asking(200_000, loss)
    asking.clock.run(60)
    assert asking.lost < (loss + 0.15) * asking.sent  # for want of room; where repairs come first it is every other one
    assert asking.track.path.rate > 120_000
    await asking.sender.close()
