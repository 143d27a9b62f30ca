"""All that touches the inside of aiortc's senders. `tests/media/test_send.py` fails when it changes.

Written against aiortc 1.15 and 1.16. Everything is set on single objects; no module of aiortc is patched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
from aiortc import RTCRtpSender, RTCRtpTransceiver
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.rtp import RtcpRrPacket, RtcpSrPacket

from server.media.aiortc_outbound import Outbound
from server.media.aiortc_private import set_private
from server.media.encoder import Codec
from server.media.tracks import VideoTrack


def send_video(transceiver: RTCRtpTransceiver, track: VideoTrack) -> None:
    """Has a sender pass on the track's encoded frames, and tell the track what its peer reports. Before it starts."""
    sender = transceiver.sender
    track.codec = "H264" if transceiver._codecs[0].name.upper() == "H264" else "VP8"
    set_private(sender, "encoder", _Estimates(track))
    outbound = Outbound(sender, track)
    assert callable(sender._run_rtp) and callable(sender._retransmit) and callable(sender._send_keyframe)
    sender._run_rtp, sender._retransmit = outbound.run, outbound.retransmit
    sender._send_keyframe = lambda: track.request_keyframe("request")  # PLI and FIR
    _read_reports(sender, track)


def packetizer(codec: Codec) -> Callable[[av.Packet], tuple[list[bytes], int]]:
    """A function from an encoded frame to its RTP payloads (RFC 7741, RFC 6184) and RTP timestamp."""
    encoder = Vp8Encoder() if codec == "VP8" else H264Encoder()
    return encoder.pack


class _Estimates:
    """In the place of a sender's encoder, which is told of the peer's estimates (REMB), and nothing else."""

    def __init__(self, track: VideoTrack) -> None:
        self._track = track

    @property
    def target_bitrate(self) -> int:
        return self._track.path.rate

    @target_bitrate.setter
    def target_bitrate(self, estimate: int) -> None:
        self._track.estimated(estimate)


def _read_reports(sender: RTCRtpSender, track: VideoTrack) -> None:
    handle = sender._handle_rtcp_packet

    async def read(packet: Any) -> None:
        if isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            for report in packet.reports:
                if report.ssrc == sender._ssrc:
                    track.lost(report.fraction_lost / 256)
        await handle(packet)

    sender._handle_rtcp_packet = read
