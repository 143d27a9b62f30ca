"""How a track's media leaves for one watcher, and what that watcher reports."""

from __future__ import annotations

import asyncio
import logging
import random
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    unpack_remb_fci,
)

from server.media.negotiation import Section, SentStream
from server.media.send.filling import Filler
from server.media.send.pacing import Pacer
from server.media.send.packetize import PADDING, RtpStream
from server.media.send.path_measure import PathMeasure
from server.media.send.timeline import Timeline
from server.media.send.tracks import AudioTrack, EncodedFrame, VideoTrack
from server.media.transport_cc import URI, Feedback
from server.supervision import Tasks, supervised

REPORT_INTERVAL = 0.5, 1.5  # seconds between sender reports: the least and the most
REPEAT_SHARE, REPEAT_BURST = 1.0, 256  # packets that may be sent again: per packet that was sent, and at once
CNAME_ITEM = 1

log = logging.getLogger(__name__)


class Peer(Protocol):
    """The watcher, as its senders reach it."""

    @property
    def congested(self) -> bool:
        """Whether what was sent before has not left yet."""

    def send_rtp(self, packets: Iterable[bytes]) -> None:
        """Raises ConnectionError where there is no connection."""

    def send_rtcp(self, packet: bytes) -> None: ...


class Sender(Protocol):
    """Of one section of an offer. All of it is for the event loop."""

    section: Section
    description: SentStream  # for the answer

    def start(self) -> None:
        """Once there is a connection."""

    def receive_rtcp(self, packet: AnyRtcpPacket) -> None: ...
    def receive_feedback(self, feedback: Feedback) -> None:
        """Transport-wide: of all that is numbered on the connection."""

    async def close(self) -> None: ...


class SenderReports:
    """Say when the publisher captured what was sent last (RFC 3550, section 6.4.1), by which watchers play sound and
    picture together. None leave without that knowledge: a watcher then plays what comes as it comes."""

    def __init__(self, stream: RtpStream, timeline: Timeline, name: str, send: Callable[[bytes], None]) -> None:
        """name: canonical, the same for all streams that are played together (CNAME)."""
        self._stream = stream
        self._timeline = timeline
        self._name = name
        self._send = send

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(random.uniform(*REPORT_INTERVAL))
            if (report := self.report()) is not None:
                self._send(report)

    def report(self) -> bytes | None:
        """A report's RTP timestamp is the last frame's of which packets have left."""
        stream = self._stream
        ntp = None if stream.sent is None else self._timeline.ntp(stream.sent)
        if ntp is None:
            return None
        info = RtcpSenderInfo(ntp, stream.rtp, stream.packets & 0xFFFFFFFF, stream.octets & 0xFFFFFFFF)
        source = RtcpSourceInfo(stream.ssrc, [(CNAME_ITEM, self._name.encode())])
        return bytes(RtcpSrPacket(stream.ssrc, info)) + bytes(RtcpSdesPacket([source]))

    def goodbye(self) -> None:
        self._send(bytes(RtcpByePacket([self._stream.ssrc])))


class _TrackSender:
    """What is the same for every track: its stream, described for the answer, and its reports."""

    def __init__(
        self,
        section: Section,
        peer: Peer,
        track: VideoTrack | AudioTrack,
        name: str,
        number: Callable[[int, int | None], int] | None = None,
    ) -> None:
        """name: the same for all streams that are played together; number: as RtpStream's."""
        self.section = section
        self._peer = peer
        self._stream = RtpStream(section, number)
        self.description = SentStream(self._stream.ssrc, self._stream.repair_ssrc, name)
        self._reports = SenderReports(self._stream, track.timeline, name, peer.send_rtcp)
        self._stop = track.stop
        self._tasks = Tasks("a sender's task")
        self._started = False

    def start(self) -> None:
        self._started = True
        self._tasks.run(supervised("reports", self._reports.run))

    async def close(self) -> None:
        self._stop()
        self._tasks.cancel()
        if self._started:
            self._reports.goodbye()


class VideoSender(_TrackSender):
    """Sends a track's frames, and packets of them again when the watcher asks for them.

    Where the watcher reports the arrival of packets, that tells what its path carries; else it tells so itself.
    """

    def __init__(self, section: Section, peer: Peer, track: VideoTrack, name: str) -> None:
        measured = section.extension(URI) is not None
        self._measure = PathMeasure(track.path, self._send_padding) if measured else None
        super().__init__(section, peer, track, name, None if self._measure is None else self._measure.number)
        self._track = track
        self._filler = Filler()
        self._pacer = Pacer(lambda: track.path.rate)
        self._repeats = float(REPEAT_BURST)  # packets that may be sent again now
        self._asked = set[int]()  # numbers of those that wait to be
        track.padded = self._stream.padded
        track.codec = "H264" if section.codecs[0].name.upper() == "H264" else "VP8"

    def start(self) -> None:
        super().start()
        if self._measure is not None:
            self._stream.playout = self._measure.playout.value
        self._track.start(self)

    @property
    def congested(self) -> bool:
        return self._peer.congested

    def send(self, frame: EncodedFrame) -> None:
        """Whoever puts frames is not concerned by the errors of one watcher: they end its track."""
        self._repeats = min(self._repeats + REPEAT_SHARE * len(frame.payloads), REPEAT_BURST)
        payloads = deque(frame.payloads)

        def leave(count: int) -> None:
            lot = [payloads.popleft() for _ in range(count)]
            self._send_packets(lambda: self._stream.pack(lot, frame.timestamp, end=not payloads))

        self._pacer.put([len(payload) for payload in frame.payloads], leave)
        if self._measure is None:
            self._fill(frame.size)
        elif self._pacer.idle:
            self._measure.probe()

    def receive_feedback(self, feedback: Feedback) -> None:
        if self._measure is None:
            return
        if self._measure.add(feedback):
            self._track.measured()
        self._stream.playout = self._measure.playout.value

    async def close(self) -> None:
        self._pacer.close()
        if self._measure is not None:
            self._measure.close()
        await super().close()

    def _fill(self, size: int) -> None:
        count = self._filler.packets(size, self._track.path.rate, self._track.reduced and self._stream.padded)
        if count:
            self._pacer.put([PADDING] * count, lambda number: self._send_padding(number, 0))

    def _send_padding(self, count: int, cluster: int) -> None:
        if self._stream.padded:
            self._send_packets(lambda: [self._stream.padding(cluster) for _ in range(count)])

    def _send_packets(self, make: Callable[[], Iterable[bytes]]) -> None:
        """make: packets are made as they leave."""
        try:
            self._peer.send_rtp(make())
        except ConnectionError:
            self._track.stop()
        except Exception:
            log.exception("a watcher gets no more video")
            self._track.stop()

    def receive_rtcp(self, packet: AnyRtcpPacket) -> None:
        own = self._stream.ssrc
        match packet:
            case RtcpRrPacket(reports=reports) | RtcpSrPacket(reports=reports):
                for report in reports:
                    if report.ssrc == own:
                        self._track.lost(report.fraction_lost / 256)
            case RtcpRtpfbPacket(fmt=fmt, media_ssrc=ssrc) if fmt == RTCP_RTPFB_NACK and ssrc == own:
                self._repeat(packet.lost)
            case RtcpPsfbPacket(fmt=fmt, media_ssrc=ssrc) if fmt in (RTCP_PSFB_PLI, RTCP_PSFB_FIR) and ssrc == own:
                self._track.request_keyframe("request")
            case RtcpPsfbPacket(fmt=fmt, fci=fci) if fmt == RTCP_PSFB_APP:
                self._estimate(fci)

    def _repeat(self, numbers: Iterable[int]) -> None:
        """Each once per request, and no more than a share of what was sent: one packet can ask for thousands."""
        asked, sizes = deque[int](), []
        for number in dict.fromkeys(number & 0xFFFF for number in numbers):
            if self._repeats < 1:
                break
            if number not in self._asked and (size := self._stream.ask(number)) is not None:
                asked.append(number)
                sizes.append(size)
                self._repeats -= 1
        self._asked.update(asked)

        def leave(count: int) -> None:
            lot = [asked.popleft() for _ in range(count)]
            self._asked.difference_update(lot)
            self._send_packets(lambda: [one for one in map(self._stream.repeat, lot) if one is not None])

        def left_out(count: int) -> None:
            self._asked.difference_update(asked)
            self._repeats += count
            self._track.unrepaired(count)

        if sizes:
            self._pacer.repair(sizes, leave, left_out)

    def _estimate(self, fci: bytes) -> None:
        """What the watcher says that its path carries (REMB)."""
        try:
            bitrate, ssrcs = unpack_remb_fci(fci)
        except (ValueError, struct.error):
            return
        if self._stream.ssrc in ssrcs:
            self._track.estimated(bitrate)


class AudioSender(_TrackSender):
    """Sends a track's Opus packets."""

    def __init__(self, section: Section, peer: Peer, track: AudioTrack, name: str) -> None:
        super().__init__(section, peer, track, name)
        self._track = track

    def start(self) -> None:
        super().start()
        self._tasks.run(self._send_all())

    def receive_rtcp(self, packet: AnyRtcpPacket) -> None:
        """Nothing depends on it: audio is neither repaired nor encoded here."""

    def receive_feedback(self, feedback: Feedback) -> None:
        """Nor is it numbered."""

    async def _send_all(self) -> None:
        try:
            while (packet := await self._track.next()) is not None:
                self._peer.send_rtp(self._stream.pack([packet.data], packet.timestamp))
        except ConnectionError:
            pass
        except Exception:
            log.exception("a watcher gets no more audio")
        finally:
            self._track.stop()
