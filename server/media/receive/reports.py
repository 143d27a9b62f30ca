"""Reports between the publisher and a receiver: sender reports in, receiver reports out (RFC 3550, section 6.4)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import AnyRtcpPacket, RtcpReceiverInfo, RtcpRrPacket, RtcpSrPacket

from server.media.receive.capture import CaptureClock
from server.media.receive.rtp import Packet

INTERVAL = 0.5, 1.5  # seconds between reports: the least and the most
MOST_STREAMS = 31  # that one report tells of
MOST_JITTER = 0xFFFFFFFF  # in the stream's timestamps, which a receiver report can tell
LONGEST_DELAY = 65536  # seconds since a sender report, which a receiver report can tell


class Reports:
    """Counts the packets of a receiver's streams, those of retransmissions included, and reports them."""

    def __init__(
        self,
        ssrc: int,
        capture: CaptureClock,
        send: Callable[[bytes], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """ssrc: the receiver's own; capture: told of sender reports."""
        self.streams: dict[int, StreamStatistics] = {}
        self._ssrc = ssrc
        self._capture = capture
        self._send = send
        self._clock = clock
        self._sender_reports: dict[int, tuple[int, float]] = {}  # the middle of its NTP time, and when it came

    def count(self, packet: Packet, clock_rate: int) -> None:
        stream = self.streams.get(packet.ssrc)
        if stream is None:
            if len(self.streams) == MOST_STREAMS:
                oldest = next(iter(self.streams))
                del self.streams[oldest]
                self._sender_reports.pop(oldest, None)
            stream = self.streams[packet.ssrc] = StreamStatistics(clock_rate)
        stream.add(packet)  # type: ignore[arg-type]  # which has the fields of aiortc's that are read

    def receive(self, packet: AnyRtcpPacket) -> None:
        """Only sender reports matter. A BYE ends nothing: Chromium sends one when a camera is only switched off."""
        if isinstance(packet, RtcpSrPacket):
            ntp = packet.sender_info.ntp_timestamp
            self._capture.reported(packet.ssrc, ntp, packet.sender_info.rtp_timestamp)
            if packet.ssrc in self.streams:
                self._sender_reports[packet.ssrc] = ntp >> 16 & 0xFFFFFFFF, self._clock()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(random.uniform(*INTERVAL))
            if self.streams:
                self._send(bytes(self.report()))

    def report(self) -> RtcpRrPacket:
        """Of what came since the last one."""
        return RtcpRrPacket(self._ssrc, [self._info(ssrc, stream) for ssrc, stream in self.streams.items()])

    def _info(self, ssrc: int, stream: StreamStatistics) -> RtcpReceiverInfo:
        last, came = self._sender_reports.get(ssrc, (0, 0.0))
        since = self._clock() - came
        return RtcpReceiverInfo(
            ssrc=ssrc,
            fraction_lost=stream.fraction_lost,
            packets_lost=stream.packets_lost,
            highest_sequence=stream.max_seq or 0,
            jitter=min(stream.jitter, MOST_JITTER),
            lsr=last,
            dlsr=int(since * 65536) if last and since < LONGEST_DELAY else 0,
        )
