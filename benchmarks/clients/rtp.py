"""Numbered pictures and a tone as RTP over UDP on loopback, for clients that bring no codecs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from aiortc import MediaStreamTrack, RTCRtpCodecParameters
from aiortc.codecs import depayload, get_decoder, get_encoder
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket

from benchmarks.clients.check import FPS, HEIGHT, WIDTH, Seen
from benchmarks.shared.peers import MovingVideo, Tone, number_of

VIDEO, AUDIO = 96, 111  # payload types
SSRCS = {VIDEO: 1, AUDIO: 2}
OPUS = RTCRtpCodecParameters("audio/opus", 48000, 2, AUDIO)


def video_codec(name: str) -> RTCRtpCodecParameters:
    parameters: dict[str, Any] = {"packetization-mode": "1", "profile-level-id": "42e01f"} if name == "H264" else {}
    return RTCRtpCodecParameters(f"video/{name}", 90000, None, VIDEO, [], parameters)


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def send(codec: str, port: int) -> None:
    """Sends until it is cancelled, with a keyframe each second, since nobody can ask for one."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_send(video_codec(codec), MovingVideo(WIDTH, HEIGHT, FPS), transport.sendto))
            group.create_task(_send(OPUS, Tone(), transport.sendto))
    finally:
        transport.close()


async def _send(codec: RTCRtpCodecParameters, track: MediaStreamTrack, sendto: Callable[[bytes], None]) -> None:
    encoder, sent, count = get_encoder(codec), 0, 0
    assert codec.payloadType is not None
    while True:
        frame: Any = await track.recv()
        payloads, timestamp = encoder.encode(frame, count % FPS == 0)
        count += 1
        for number, payload in enumerate(payloads, 1):
            last = int(codec.payloadType == AUDIO or number == len(payloads))
            packet = RtpPacket(codec.payloadType, last, sent % 65536, timestamp, SSRCS[codec.payloadType], payload)
            sendto(packet.serialize())
            sent += 1


class Received(asyncio.DatagramProtocol):
    """Decodes what comes."""

    def __init__(self, codec: str, seen: Seen) -> None:
        self._codec, self._seen = video_codec(codec), seen
        self._decoder = get_decoder(self._codec)
        self._waiting = JitterBuffer(capacity=128, is_video=True)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        packet = RtpPacket.parse(data)
        if packet.payload_type == AUDIO:
            self._seen.sound = (self._seen.sound or 0) + 1
        elif packet.payload:
            packet._data = depayload(self._codec, packet.payload)
            _, whole = self._waiting.add(packet)
            frames: list[Any] = self._decoder.decode(whole) if whole else []
            self._seen.numbers += [number_of(frame) for frame in frames]
