"""Negotiated sections, and a peer that only notes what is sent to it."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

from aiortc import RTCDtlsParameters, RTCIceParameters
from aiortc.codecs import CODECS, HEADER_EXTENSIONS
from aiortc.rtp import AnyRtcpPacket, RtcpPacket

from server.media.negotiation import Kind, Section

VP8 = next(codec for codec in CODECS["video"] if codec.name == "VP8")
RTX = next(c for c in CODECS["video"] if c.name == "rtx" and c.parameters["apt"] == VP8.payloadType)
H264 = next(codec for codec in CODECS["video"] if codec.name == "H264")
OPUS = next(codec for codec in CODECS["audio"] if codec.name.lower() == "opus")


def section(*codecs: object, ssrcs: Iterable[int] = ()) -> Section:
    """ssrcs: as the offer names them."""
    kind: Kind = "audio" if codecs[0] is OPUS else "video"
    extensions = tuple(HEADER_EXTENSIONS[kind])
    return Section(
        kind, "0", tuple(map(deepcopy, codecs)), extensions, tuple(ssrcs), RTCIceParameters(), RTCDtlsParameters()
    )


class NotingPeer:
    """lost: whether there is no connection."""

    def __init__(self) -> None:
        self.rtp: list[bytes] = []
        self.rtcp: list[AnyRtcpPacket] = []
        self.congested = False
        self.lost = False

    def send_rtp(self, packets: Iterable[bytes]) -> None:
        if self.lost:
            raise ConnectionError("not connected")
        self.rtp += packets

    def send_rtcp(self, packet: bytes) -> None:
        self.rtcp += RtcpPacket.parse(packet)

    async def round_trip(self) -> float | None:
        return None
