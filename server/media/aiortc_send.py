"""All that touches the inside of aiortc's senders. `tests/media/test_send.py` fails when it changes.

Written against aiortc 1.15 and 1.16. Everything is set on single objects; no module of aiortc is patched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import av
from aiortc import RTCRtpSender, RTCRtpTransceiver
from aiortc.codecs.base import Encoder
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.rtp import RtcpRrPacket, RtcpSrPacket

from server.media.aiortc_outbound import Outbound
from server.media.aiortc_private import set_private
from server.media.capture import CaptureClock
from server.media.encoder import Codec
from server.media.tracks import AudioTrack, VideoTrack


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
    _report_capture(sender, outbound, track.capture)


def send_audio(transceiver: RTCRtpTransceiver, track: AudioTrack) -> None:
    """Has a sender pass on the track's Opus packets. Before it starts."""
    encoder = _EncodedAudio()
    set_private(transceiver.sender, "encoder", encoder)
    _report_capture(transceiver.sender, encoder, track.capture)


def packetizer(codec: Codec) -> Callable[[av.Packet], tuple[list[bytes], int]]:
    """A function from an encoded frame to its RTP payloads (RFC 7741, RFC 6184) and RTP timestamp."""
    encoder = Vp8Encoder() if codec == "VP8" else H264Encoder()
    return encoder.pack


class _Sending(Protocol):
    @property
    def sent(self) -> int | None:
        """The timestamp, in the relay's count, of what was sent last."""


class _EncodedAudio(Encoder):
    """In the place of a sender's encoder: a track's packets come encoded."""

    def __init__(self) -> None:
        self.sent: int | None = None  # the last one's timestamp

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        raise TypeError("the track's packets are encoded already")

    def pack(self, packet: av.Packet) -> tuple[list[bytes], int]:
        self.sent = packet.pts
        return [bytes(packet)], packet.pts


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


def _report_capture(sender: RTCRtpSender, sending: _Sending, capture: CaptureClock) -> None:
    """Sender reports say when the publisher captured what was sent last; aiortc's say when it was sent, which holds
    up sound and picture differently, and its first ones are of before anything was. None leave without that knowledge:
    a watcher then plays what comes as it comes.

    A report's RTP timestamp is the last frame's, whose packets leave without pausing.
    """
    send = sender._send_rtcp

    async def send_reports(packets: list[Any]) -> None:
        if isinstance(packets[0], RtcpSrPacket):
            ntp = None if sending.sent is None else capture.ntp(sending.sent)
            if ntp is None:
                return
            packets[0].sender_info.ntp_timestamp = ntp
        await send(packets)

    sender._send_rtcp = send_reports
