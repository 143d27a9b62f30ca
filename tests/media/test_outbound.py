"""How a sender's frames leave. A failure here means: aiortc has changed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.clock import current_ntp_time
from aiortc.codecs import CODECS
from aiortc.rtp import RTCP_RTPFB_NACK, RTP_HISTORY_SIZE, HeaderExtensionsMap, RtcpRtpfbPacket, RtpPacket, unwrap_rtx
from server.media.aiortc_private import private, set_private
from server.media.aiortc_send import send_video

from server.media import aiortc_outbound as seam
from server.media.receive.capture import CaptureClock
from server.media.send.bitrate import Bitrates
from server.media.send.tracks import EncodedFrame, VideoTrack

VP8 = next(codec for codec in CODECS["video"] if codec.name == "VP8")
EXTENSIONS = HeaderExtensionsMap()
EXTENSIONS.configure(
    SimpleNamespace(
        headerExtensions=[
            SimpleNamespace(id=1, uri="urn:ietf:params:rtp-hdrext:sdes:mid"),
            SimpleNamespace(id=2, uri="http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
        ]
    )
)


class Sending(NamedTuple):
    sender: RTCRtpSender
    track: VideoTrack
    packets: list[RtpPacket]


@pytest.fixture
async def sending(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sending]:
    """A sender that runs, whose packets are kept."""
    packets: list[RtpPacket] = []
    keep = lambda transport, sent: packets.extend(RtpPacket.parse(one, EXTENSIONS) for one in sent)  # noqa: E731
    monkeypatch.setattr(seam, "send_directly", keep)
    pc, track = RTCPeerConnection(), VideoTrack(Bitrates(), CaptureClock(90000))
    transceiver = pc.addTransceiver(track, "sendonly")
    transceiver._codecs = [VP8]
    send_video(transceiver, track)
    sender = transceiver.sender
    set_private(sender, "rtp_header_extensions_map", EXTENSIONS)
    set_private(sender, "mid", "0")
    running = asyncio.create_task(sender._run_rtp(VP8))
    await asyncio.sleep(0)
    yield Sending(sender, track, packets)
    track.stop()
    await running
    await pc.close()


async def put(sending: Sending, *frames: EncodedFrame) -> None:
    for frame in frames:
        sending.track.put(frame)
        await asyncio.sleep(0.001)


async def test_the_sender_has_the_parts_that_are_used() -> None:
    pc = RTCPeerConnection()
    sender = pc.addTransceiver("video", "sendonly").sender
    assert not private(sender, "rtp_started").is_set() and not private(sender, "rtp_exited").is_set()
    assert isinstance(private(sender, "rtp_header_extensions_map"), HeaderExtensionsMap)
    counters = "ntp_timestamp", "rtp_timestamp", "octet_count", "packet_count"
    assert [private(sender, name) for name in counters] == [0, 0, 0, 0]
    assert private(sender, "rtx_payload_type") is None and private(sender, "mid") is None
    reports = inspect.getsource(RTCRtpSender._run_rtcp)
    assert all(f"{name}=self.__{name}" in reports for name in counters)
    await pc.close()


async def test_a_frame_leaves_as_packets_of_one_time(sending: Sending) -> None:
    sender, _, packets = sending
    before = current_ntp_time()
    await put(sending, EncodedFrame([b"one", b"two"], 3000, True, 1.0), EncodedFrame([b"three"], 6000, False, 1.0))
    assert [packet.payload for packet in packets] == [b"one", b"two", b"three"]
    assert [packet.marker for packet in packets] == [0, 1, 1]
    first, second, third = packets
    assert [packet.sequence_number - first.sequence_number for packet in packets] == [0, 1, 2]
    assert first.timestamp == second.timestamp == (third.timestamp - 3000) & 0xFFFFFFFF
    assert {(packet.ssrc, packet.payload_type) for packet in packets} == {(sender._ssrc, VP8.payloadType)}
    assert {packet.extensions.mid for packet in packets} == {"0"}
    since = (first.extensions.abs_send_time - (before >> 14)) & 0xFFFFFF
    assert since < 1 << 18  # a second
    assert (private(sender, "packet_count"), private(sender, "octet_count")) == (3, 11)
    assert private(sender, "rtp_timestamp") == third.timestamp
    assert private(sender, "ntp_timestamp") >= before


async def test_a_disabled_sender_reads_and_sends_nothing(sending: Sending) -> None:
    sending.sender._enabled = False
    await put(sending, EncodedFrame([b"one"], 3000, True, 1.0))
    assert not sending.packets and not sending.track._frames


@pytest.mark.parametrize("rtx", [None, 98])
async def test_lost_packets_are_sent_again(sending: Sending, rtx: int | None) -> None:
    sender, _, packets = sending
    set_private(sender, "rtx_payload_type", rtx)
    frames = [EncodedFrame([b"%d" % number], 3000 * number, True, 1.0) for number in range(RTP_HISTORY_SIZE + 1)]
    await put(sending, *frames)
    lost = [packets[number].sequence_number for number in (0, 5, 6)]
    del packets[: len(frames)]
    await sender._handle_rtcp_packet(RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=sender._ssrc, lost=lost))
    if rtx:
        assert {(packet.payload_type, packet.ssrc) for packet in packets} == {(98, sender._rtx_ssrc)}
        assert packets[1].sequence_number == packets[0].sequence_number + 1
        packets = [unwrap_rtx(packet, VP8.payloadType, sender._ssrc) for packet in packets]
    assert [packet.sequence_number for packet in packets] == lost[1:]  # the oldest is forgotten
    assert [packet.payload for packet in packets] == [b"5", b"6"]
    assert {(packet.payload_type, packet.ssrc) for packet in packets} == {(VP8.payloadType, sender._ssrc)}


async def test_the_end_of_the_track_ends_the_sender(sending: Sending) -> None:
    sending.track.stop()
    await asyncio.wait_for(private(sending.sender, "rtp_exited").wait(), 1)
    assert sending.sender.track is None


async def test_a_lost_connection_ends_the_sender_and_concerns_nobody_else(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(sending, EncodedFrame([b"one"], 3000, True, 1.0))

    def fail(*arguments: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(seam, "send_directly", fail)
    sending.track.put(EncodedFrame([b"two"], 6000, False, 1.0))
    await asyncio.wait_for(private(sending.sender, "rtp_exited").wait(), 1)
    assert sending.track.readyState == "ended"


async def test_frames_that_waited_leave_before_newer_ones_and_those_at_once(sending: Sending) -> None:
    for number in range(3):
        sending.track.put(EncodedFrame([b"%d" % number], 3000 * number, True, 1.0))
    await asyncio.sleep(0.001)
    sending.track.put(EncodedFrame([b"3"], 9000, False, 1.0))
    assert [packet.payload for packet in sending.packets] == [b"0", b"1", b"2", b"3"]
