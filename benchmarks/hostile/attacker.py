"""Peers that are let in as any other, and send what they like through their own SRTP; and strangers without a key."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable, Sequence
from fractions import Fraction

import av
import httpx
import pylibsrtp
from aiortc import RTCDtlsParameters, RTCIceParameters
from aiortc.sdp import MediaDescription, SessionDescription, candidate_to_sdp

from benchmarks.hostile import sdp
from benchmarks.hostile.bitstreams import Codec
from benchmarks.hostile.packets import Target
from server.media.aiortc_door import PeerTransport
from server.media.ice_connection import Network
from server.media.send.packetize import packetizer

VIDEO_TYPES = {"VP8": 96, "H264": 102}
VIDEO_SSRC, REPAIR_SSRC, AUDIO_SSRC = 3409705383, 1180234123, 2231631
PACE = 0.002  # seconds between packets


class Refused(Exception):
    """The relay has not let an attacker in."""


class Attacker:
    """One connection to the relay. To be made in the event loop."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.location = ""
        self.rtcp: list[bytes] = []  # from the relay, the last hundred
        self.packets = 0  # of RTP that came
        self.target = Target((96, 97, 102, 103, 108, 109, 111), (VIDEO_SSRC, REPAIR_SSRC, AUDIO_SSRC, 1))
        self._http = http
        self._transport = PeerTransport(Network(), self._count, self._note, lambda: None)
        self._numbers: dict[int, int] = {}

    async def enter(self, path: str, direction: str) -> None:
        """direction: sendonly to publish, recvonly to watch. Raises Refused, and TimeoutError."""
        transport = self._transport
        await transport.gather()
        offer = next(text for text in sdp.OFFERS if direction in text and "m=audio" in text)
        fingerprint = next(f for f in transport.dtls_parameters("server").fingerprints if f.algorithm == "sha-256")
        offer = re.sub(r"a=candidate:.*\r\n", "", offer)
        offer = re.sub(r"(a=ice-ufrag:)[^\r]*", rf"\g<1>{transport.ice_parameters.usernameFragment}", offer)
        offer = re.sub(r"(a=ice-pwd:)[^\r]*", rf"\g<1>{transport.ice_parameters.password}", offer)
        offer = re.sub(r"(a=fingerprint:sha-256 )[^\r]*", rf"\g<1>{fingerprint.value}", offer)
        offer += "".join(f"a=candidate:{candidate_to_sdp(one)}\r\n" for one in transport.candidates)
        answer = await self._http.post(path, content=offer, headers={"Content-Type": "application/sdp"})
        if answer.status_code != 201:
            raise Refused(answer.text)
        self.location = answer.headers["location"]
        first: MediaDescription = SessionDescription.parse(answer.text).media[0]
        for media in SessionDescription.parse(answer.text).media:
            for candidate in media.ice_candidates:
                await transport.add_candidate(candidate)
        await transport.add_candidate(None)
        assert first.ice is not None and first.dtls is not None
        ice = RTCIceParameters(first.ice.usernameFragment, first.ice.password, iceLite=True)  # so that we control
        await asyncio.wait_for(transport.connect(ice, RTCDtlsParameters(first.dtls.fingerprints), "server"), 12)
        if transport.state != "connected":
            raise Refused(transport.state)

    def send(self, packets: Iterable[bytes]) -> int:
        """RTP or RTCP, as their second byte says. How many left: SRTP refuses what is no packet at all."""
        sent = 0
        for data in packets:
            try:
                if 192 <= data[1] < 224:
                    self._transport.send_rtcp(data)
                else:
                    self._transport.send_rtp([data])
                sent += 1
            except (pylibsrtp.Error, ValueError, ConnectionError):
                continue
        return sent

    async def show(self, codec: Codec, frames: Sequence[bytes], timestamp: int, interval: float = 0.03) -> int:
        """Sends encoded frames, whatever they hold, in packets that tell the truth. How many frames left."""
        pack, sent = packetizer(codec), 0
        for number, frame in enumerate(frames):
            packet = av.Packet(frame)
            packet.pts, packet.time_base = 0, Fraction(1, 90000)
            try:
                payloads, _ = pack(packet)
            except (IndexError, ValueError):  # no NAL units that could be told apart: as they are
                payloads = [frame[at : at + 1000] for at in range(0, len(frame), 1000)]
            stamp = timestamp + 2700 * number & 0xFFFFFFFF
            last = len(payloads) - 1
            sent += bool(self.send(self._packet(codec, stamp, at == last, one) for at, one in enumerate(payloads)))
            await asyncio.sleep(interval)
        return sent

    async def leave(self) -> None:
        if self.location:
            await self._http.delete(self.location)
        await self._transport.close()

    @property
    def ports(self) -> list[tuple[str, int]]:
        return [pair.remote_addr for pair in self._transport._ice.connection._check_list]

    def _packet(self, codec: Codec, timestamp: int, last: bool, payload: bytes) -> bytes:
        kind = VIDEO_TYPES[codec]
        number = self._numbers[kind] = self._numbers.get(kind, 1000) + 1 & 0xFFFF
        ssrc = VIDEO_SSRC + kind  # a stream for each codec: numbers of both go on
        head = bytes([0x80, last << 7 | kind]) + number.to_bytes(2, "big") + timestamp.to_bytes(4, "big")
        return head + ssrc.to_bytes(4, "big") + payload

    def _count(self, data: bytes) -> None:
        self.packets += 1
        self.target.ssrcs = (int.from_bytes(data[8:12], "big"), *self.target.ssrcs[1:])

    def _note(self, data: bytes) -> None:
        self.rtcp = [*self.rtcp[-99:], data]


class Stranger:
    """Sends datagrams to ports of the relay from one of its own."""

    def __init__(self) -> None:
        self._sockets = {socket.AF_INET: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)}
        if socket.has_ipv6:
            self._sockets[socket.AF_INET6] = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

    def send(self, data: bytes, to: tuple[str, int]) -> int:
        """How many left."""
        try:
            self._sockets[socket.AF_INET6 if ":" in to[0] else socket.AF_INET].sendto(data, to)
            return 1
        except OSError:  # larger than a datagram, or an answer that nobody was there
            return 0

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()
