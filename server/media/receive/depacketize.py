"""From a receiver's RTP packets to codec data: retransmissions unwrapped (RFC 4588), payload descriptors taken off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from aiortc import RTCRtpCodecParameters
from aiortc.codecs import depayload, is_rtx

from server.media.receive.payload import vp8_data
from server.media.receive.rtp import Packet


class _Kind(NamedTuple):
    """What a payload type means."""

    codec: RTCRtpCodecParameters
    data: Callable[[bytes], bytes]
    repairs: int | None = None  # the payload type that is retransmitted under this one


class Depacketizer:
    """Of one receiver. Packets of unknown types, and broken ones, are left out."""

    def __init__(
        self,
        codecs: Mapping[int, RTCRtpCodecParameters],
        repair_ssrcs: Mapping[int, int],
        count: Callable[[Packet, int], None],
        deliver: Callable[[Packet], None],
    ) -> None:
        """codecs: by payload type. repair_ssrcs: by the SSRC of retransmissions, that of what they repair; where it is
        empty, as in offers of simulcast, which name no SSRCs, they repair the stream that comes. count: is
        called with each packet as it came, and its clock rate. deliver: with each packet that holds media, or padding,
        its data in `data`."""
        self._kinds = {payload_type: _kind(codec) for payload_type, codec in codecs.items()}
        self._originals = repair_ssrcs
        self._coming: int | None = None  # the SSRC of the newest packet of media
        self._count = count
        self._deliver = deliver

    def add(self, packet: Packet) -> None:
        kind = self._kinds.get(packet.payload_type)
        if kind is None:
            return
        self._count(packet, kind.codec.clockRate)
        if kind.repairs is not None:
            original = self._kinds.get(kind.repairs)
            ssrc = self._originals.get(packet.ssrc) if self._originals else self._coming
            if original is None or ssrc is None:
                return
            repaired = packet.repaired(kind.repairs, ssrc)
            if repaired is None:
                return
            packet, kind = repaired, original
        else:
            self._coming = packet.ssrc
        if packet.payload:  # else it is padding
            try:
                packet.data = kind.data(packet.payload)
            except ValueError:
                return
        self._deliver(packet)


def _kind(codec: RTCRtpCodecParameters) -> _Kind:
    if is_rtx(codec):
        return _Kind(codec, bytes, int(codec.parameters["apt"] or 0))
    return _Kind(codec, vp8_data if codec.name == "VP8" else lambda payload: depayload(codec, payload))
