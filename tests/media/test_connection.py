"""What is negotiated, with aiortc's peer connections. A failure here means: aiortc has changed."""

from __future__ import annotations

import asyncio

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

from server.media import aiortc_connection as connection
from server.media.send.bitrate import Bitrates


async def offer_of(*kinds: str) -> tuple[RTCPeerConnection, str]:
    pc = RTCPeerConnection()
    for kind in kinds:
        pc.addTransceiver(kind, "sendonly")
    await pc.setLocalDescription(await pc.createOffer())
    return pc, pc.localDescription.sdp


async def test_the_answer_prefers_vp8_and_says_where_to_begin() -> None:
    client, sdp = await offer_of("video", "audio")
    lines = sdp.splitlines()
    media = next(i for i, line in enumerate(lines) if line.startswith("m=video"))
    lines[media] = "m=video " + " ".join(lines[media].split()[1:3]) + " 99 100 101 102 97 98"
    rtpmaps = [line for line in lines if line.startswith("a=rtpmap:9") or line.startswith("a=rtpmap:10")]
    h264 = [line for line in rtpmaps if line.split(":")[1].split()[0] in ("99", "100", "101", "102")]
    for line in h264:  # H264 comes first in the offer
        lines.remove(line)
    first = next(i for i, line in enumerate(lines) if line.startswith("a=rtpmap:97"))
    lines[first:first] = h264
    pc = RTCPeerConnection()
    await pc.setRemoteDescription(RTCSessionDescription("\r\n".join(lines) + "\r\n", "offer"))
    assert pc.getTransceivers()[0]._codecs[0].name == "H264"
    connection.choose_codecs(pc, Bitrates(start=1_500_000))
    answer = (await pc.createAnswer()).sdp
    video = next(line for line in answer.splitlines() if line.startswith("m=video")).split()[3]
    assert f"a=rtpmap:{video} VP8/90000" in answer
    assert f"a=fmtp:{video} x-google-start-bitrate=1500\r\n" in answer
    assert "profile-level-id=42001f;x-google-start-bitrate=1500" in answer
    assert next(line for line in answer.splitlines() if line.startswith("m=audio")).split()[3:] == ["96"]
    await asyncio.gather(client.close(), pc.close())


async def test_audio_without_opus_is_refused() -> None:
    client, sdp = await offer_of("audio")
    sdp = "\r\n".join(line for line in sdp.splitlines() if "opus" not in line).replace("SAVPF 96 ", "SAVPF ") + "\r\n"
    pc = RTCPeerConnection()
    await pc.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
    with pytest.raises(connection.UnsupportedOffer, match="opus/48000/2"):
        connection.choose_codecs(pc, Bitrates())
    await asyncio.gather(client.close(), pc.close())
