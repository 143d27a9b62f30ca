"""What a receiver does with each RTP packet, in the place of aiortc's coroutine for it, which nothing in it waits for.

Touches the inside of aiortc's receivers (written against 1.15 and 1.16); `tests/media/test_inbound.py` fails when it
changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from aiortc import RTCRtpReceiver
from aiortc.codecs import depayload, is_rtx
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RTCP_PSFB_APP, RtcpPsfbPacket, pack_remb_fci

from server.media.aiortc_private import private
from server.media.payload import vp8_data
from server.media.rtp import Packet

NO_TYPE = -1
BURST = 5 * (1 << 18) // 1000  # 5 ms in abs_send_time's units: what the bitrate's estimator takes for one group


class Estimator(Protocol):
    """Of what a path carries: aiortc's RemoteBitrateEstimator is one."""

    def add(
        self, *, arrival_time_ms: int, abs_send_time: int, payload_size: int, ssrc: int
    ) -> tuple[int, list[int]] | None:
        """Takes what was sent at about one time; bit/s and SSRCs when the publisher is to be told."""


class _Kind(NamedTuple):
    """What a payload type means."""

    codec: Any
    data: Callable[[bytes], bytes]
    repairs: int | None  # the payload type that is retransmitted under this one


class Inbound:
    """Takes a receiver's packets: statistics for its reports, estimate, retransmissions unwrapped, descriptor off."""

    def __init__(
        self, receiver: RTCRtpReceiver, deliver: Callable[[Packet, Any], None], estimator: Estimator | None
    ) -> None:
        """deliver: called with each packet of a known codec, and with that."""
        self._receiver = receiver
        self._deliver = deliver
        self._codecs: dict[int, Any] = private(receiver, "codecs")  # filled when the receiver starts
        self._streams: dict[int, StreamStatistics] = private(receiver, "remote_streams")
        self._originals: dict[int, int] = private(receiver, "rtx_ssrc")
        self._estimator = estimator
        self._kinds: dict[int, _Kind] = {}
        self._burst = 0  # bytes of packets that the estimator has not heard of
        self._first = 0  # when the first of them was sent
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, packet: Packet) -> None:
        if not self._receiver._enabled:
            return
        if self._estimator is not None and packet.abs_send_time is not None:
            self._estimate(packet)
        kind = self._kinds.get(packet.payload_type) or self._learn(packet.payload_type)
        if kind is None:
            return
        stream = self._streams.get(packet.ssrc)
        if stream is None:
            stream = self._streams[packet.ssrc] = StreamStatistics(kind.codec.clockRate)
        stream.add(packet)
        if kind.repairs is not None:
            ssrc, kind = self._originals.get(packet.ssrc), self._learn(kind.repairs)
            repaired = packet.repaired(kind.codec.payloadType, ssrc) if kind and ssrc is not None else None
            if repaired is None:
                return
            packet = repaired
        if packet.payload:  # else it is padding
            try:
                packet._data = kind.data(packet.payload)
            except ValueError:
                return
        self._deliver(packet, kind.codec)

    def _learn(self, payload_type: int) -> _Kind | None:
        codec = self._codecs.get(payload_type)
        if codec is None:
            return None
        if codec.name == "VP8":
            data = vp8_data
        else:

            def data(payload: bytes) -> bytes:
                return depayload(codec, payload)

        kind = self._kinds[payload_type] = _Kind(
            codec, data, codec.parameters.get("apt", NO_TYPE) if is_rtx(codec) else None
        )
        return kind

    def _estimate(self, packet: Packet) -> None:
        """Tells the estimator of what was sent within 5 ms at once: it puts that together anyway, at a higher price."""
        assert packet.abs_send_time is not None
        if not self._burst:
            self._first = packet.abs_send_time
        self._burst += packet.size
        if not packet.marker and (packet.abs_send_time - self._first & 0xFFFFFF) < BURST:
            return
        size, self._burst = self._burst, 0
        granted = self._estimator.add(
            arrival_time_ms=round(1000 * packet.arrived),
            abs_send_time=packet.abs_send_time,
            payload_size=size,
            ssrc=packet.ssrc,
        )
        if granted is not None and (ssrc := private(self._receiver, "rtcp_ssrc")) is not None:
            self._grant(RtcpPsfbPacket(RTCP_PSFB_APP, ssrc, 0, pack_remb_fci(*granted)))

    def _grant(self, packet: RtcpPsfbPacket) -> None:
        task = asyncio.get_running_loop().create_task(self._receiver._send_rtcp(packet))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
