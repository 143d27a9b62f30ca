"""What is relied on in aiortc's sender, and what is mended there. A failure here means: aiortc has changed."""

from __future__ import annotations

import asyncio
import inspect
import time
from fractions import Fraction

import av
import pytest
from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.codecs import CODECS
from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import vp8_depayload
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    pack_remb_fci,
)
from server.media.aiortc_private import private

from server.media import aiortc_outbound
from server.media import aiortc_send as seam
from server.media.receive.capture import CaptureClock
from server.media.send.bitrate import Bitrates
from server.media.send.encoder import VideoEncoder
from server.media.send.tracks import AudioRelay, EncodedFrame, VideoTrack
from tests.media.helpers import numbered_frame


class Source:
    def __init__(self) -> None:
        self.requests: list[str] = []
        self.changes = 0

    def request_keyframe(self, track: VideoTrack, reason: str) -> None:
        self.requests.append(reason)

    def path_changed(self, track: VideoTrack) -> None:
        self.changes += 1


async def sender_of(name: str) -> tuple[RTCPeerConnection, RTCRtpSender, VideoTrack, Source]:
    pc = RTCPeerConnection()
    track, source = VideoTrack(Bitrates(), CaptureClock(90000)), Source()
    track.source = source
    transceiver = pc.addTransceiver(track, "sendonly")
    transceiver._codecs = [codec for codec in CODECS["video"] if codec.name == name]
    seam.send_video(transceiver, track)
    return pc, transceiver.sender, track, source


async def test_the_sender_has_the_parts_that_are_replaced() -> None:
    pc = RTCPeerConnection()
    sender = pc.addTransceiver("video", "sendonly").sender
    assert private(sender, "encoder") is None
    source = inspect.getsource(RTCRtpSender)
    assert "asyncio.ensure_future(self._run_rtp(parameters.codecs[0]))" in source
    assert "await self._retransmit(seq)" in source
    assert "self.__encoder.target_bitrate = bitrate" in source
    assert "self._send_keyframe()" in source
    assert "await self._send_rtcp(packets)" in source and "rtp_timestamp=self.__rtp_timestamp," in source
    await pc.close()


@pytest.mark.parametrize("name", ["VP8", "H264"])
async def test_the_track_learns_its_codec(name: str) -> None:
    pc, _, track, _ = await sender_of(name)
    assert track.codec == name
    await pc.close()


@pytest.mark.parametrize(("codec", "encoder"), [("VP8", "libvpx"), ("H264", "libx264")])
def test_payloads_hold_the_frame(codec: str, encoder: str) -> None:
    packet = VideoEncoder(encoder, 320, 180, Bitrates()).encode(numbered_frame(7, 320, 180), 2_000_000)
    assert packet is not None
    payloads, timestamp = seam.packetizer(codec)(packet)
    assert timestamp == 21000 and max(map(len, payloads)) <= 1300
    depayload, decoder = (vp8_depayload, "vp8") if codec == "VP8" else (h264_depayload, "h264")
    again = av.Packet(b"".join(map(depayload, payloads)))
    again.pts, again.time_base = 0, Fraction(1, 90000)
    context = av.CodecContext.create(decoder, "r")
    assert len(context.decode(again) + context.decode(None)) == 1


async def test_what_the_peer_reports_reaches_the_track() -> None:
    pc, sender, track, source = await sender_of("VP8")
    for kind in (RTCP_PSFB_PLI, RTCP_PSFB_FIR):
        await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=kind, ssrc=1, media_ssrc=sender._ssrc))
    assert source.requests == ["request", "request"]
    fci = pack_remb_fci(3_000_000, [sender._ssrc])
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=fci))
    assert track.path.rate == pytest.approx(3_000_000, rel=0.01)
    lost = RtcpReceiverInfo(
        sender._ssrc, fraction_lost=128, packets_lost=9, highest_sequence=9, jitter=0, lsr=0, dlsr=0
    )
    other = RtcpReceiverInfo(sender._ssrc ^ 1, 255, 9, 9, 0, 0, 0)
    await sender._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[other, lost]))
    assert track.path.rate == pytest.approx(0.75 * 3_000_000, rel=0.01)
    assert source.changes == 2
    await pc.close()


async def test_reports_tell_the_capture_of_what_was_sent_last_and_wait_until_it_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pc, sender, track, _ = await sender_of("VP8")
    sent = sent_by(sender)
    monkeypatch.setattr(aiortc_outbound, "send_directly", lambda transport, packets: None)
    running = asyncio.create_task(sender._run_rtp(CODECS["video"][0]))

    async def report(rtp: int) -> None:
        info = RtcpSenderInfo(ntp_timestamp=1, rtp_timestamp=rtp, packet_count=1, octet_count=1)
        await sender._send_rtcp([RtcpSrPacket(ssrc=sender._ssrc, sender_info=info)])

    track.capture.counted(5, 100_000, 3000)
    track.capture.reported(5, 9 << 32, 100_000 + 90000)
    await report(0)  # of a sender that has not sent anything
    track.put(EncodedFrame([b"one"], 3000, True, 1.0))
    await asyncio.sleep(0.01)
    await report(77)
    (got,) = sent
    assert (got.sender_info.ntp_timestamp, got.sender_info.rtp_timestamp) == (8 << 32, 77)
    track.capture.counted(6, 0, 3000)  # another source, which has not reported
    await report(78)
    assert len(sent) == 1
    track.stop()
    await running
    await pc.close()


async def test_sound_is_reported_like_the_picture() -> None:
    pc, relay = RTCPeerConnection(), AudioRelay()
    track = relay.watch()
    transceiver = pc.addTransceiver(track, "sendonly")
    seam.send_audio(transceiver, track)
    sent = sent_by(transceiver.sender)
    packet = av.Packet(b"opus")
    packet.pts, packet.time_base = 960, Fraction(1, 48000)
    relay.receive(packet, time.monotonic())
    relay.capture.counted(5, 0, 0)
    relay.capture.reported(5, 9 << 32, 960 + 48000)
    frame = await transceiver.sender._next_encoded_frame(CODECS["audio"][0])
    assert (frame.payloads, frame.timestamp) == ([b"opus"], 960)
    info = RtcpSenderInfo(ntp_timestamp=1, rtp_timestamp=77, packet_count=1, octet_count=1)
    await transceiver.sender._send_rtcp([RtcpSrPacket(ssrc=1, sender_info=info)])
    assert sent[0].sender_info.ntp_timestamp == 8 << 32
    await pc.close()


def sent_by(sender: RTCRtpSender) -> list[RtcpSrPacket]:
    """The reports that leave, instead of sending them."""
    sent: list[RtcpSrPacket] = []

    async def send_rtp(data: bytes) -> None:
        sent.extend(RtcpPacket.parse(data))

    sender.transport._send_rtp = send_rtp
    return sent
