"""Watchers who ask for packets until they come, and report the arrival of each, as browsers do. aiortc's does neither
by itself: it asks once, when it finds a packet missing, and then stands still.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Any

from aiortc import RTCRtpHeaderExtensionParameters, RTCRtpParameters, RTCSessionDescription

from benchmarks.shared.forwarder import payload_types
from benchmarks.shared.impaired import ImpairedPeer
from server.media.receive.arrivals import Arrivals
from server.media.transport_cc import URI

ASK = 0.1  # seconds between requests for what is missing
PATIENCE = 1.0  # seconds without a frame after which a keyframe is asked for
EXTENSION = 13  # the id that it offers
ABS_SEND_TIME = re.compile(r"^a=extmap:\d+ \S*abs-send-time\r\n", re.M)


class AskingPeer(ImpairedPeer):
    """Asks for what is missing until it comes, and for a keyframe where that does not help."""

    _media: int | None = None  # the SSRC of what it sees

    async def _negotiate(self, path: str) -> None:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        offer = self.speaking(self.forwarder.offer(self.pc.localDescription.sdp))
        self.video, self.repairs = payload_types(offer, "VP8"), payload_types(offer, "rtx")
        response = await self.http.post(path, content=offer, headers={"Content-Type": "application/sdp"})
        assert response.status_code == 201, response.text
        self.location = response.headers["location"]
        answer = self.forwarder.answer(response.text)
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        for transceiver in self.pc.getTransceivers():
            if transceiver.kind == "video":
                self._listen(transceiver.receiver)
                self._readers.append(asyncio.create_task(self._ask(transceiver.receiver)))

    def speaking(self, offer: str) -> str:
        return offer

    def noted(self, receiver: Any, packet: Any) -> None:
        if packet.payload_type in self.video:
            self._media = packet.ssrc

    def _listen(self, receiver: Any) -> None:
        handle = receiver._handle_rtp_packet

        async def noted(packet: Any, arrival_time_ms: int) -> None:
            self.noted(receiver, packet)
            await handle(packet, arrival_time_ms)

        receiver._handle_rtp_packet = noted

    async def _ask(self, receiver: Any) -> None:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        while True:
            await asyncio.sleep(ASK)
            last = max(asked, self.frames[-1].time if self.frames else 0.0)
            if self._media is None:
                continue
            with suppress(ConnectionError):
                if missing := sorted(receiver._RTCRtpReceiver__nack_generator.missing):
                    await receiver._send_rtcp_nack(self._media, missing)
                if loop.time() - last > PATIENCE:
                    asked = loop.time()
                    await receiver._send_rtcp_pli(self._media)


class ReportingPeer(AskingPeer):
    """Its offer speaks of transport-wide feedback, and not of times of sending, from which aiortc makes estimates."""

    _arrivals: Arrivals | None = None

    def speaking(self, offer: str) -> str:
        """With the extension and its feedback in the video section."""
        head, video = ABS_SEND_TIME.sub("", offer).split("m=video", 1)
        video = video.replace("a=mid:", f"a=extmap:{EXTENSION} {URI}\r\na=mid:", 1)
        fed_back = re.sub(r"^(a=rtcp-fb:\d+) nack\r\n", r"\g<0>\1 transport-cc\r\n", video, flags=re.M)
        return f"{head}m=video{fed_back}"

    def _listen(self, receiver: Any) -> None:
        super()._listen(receiver)
        transport, loop = receiver.transport, asyncio.get_running_loop()
        extension = RTCRtpHeaderExtensionParameters(id=EXTENSION, uri=URI)
        transport._rtp_header_extensions_map.configure(RTCRtpParameters(headerExtensions=[extension]))
        self._arrivals = Arrivals(1, lambda message: loop.create_task(_send(transport, message)))

    def noted(self, receiver: Any, packet: Any) -> None:
        super().noted(receiver, packet)
        number = packet.extensions.transport_sequence_number
        if number is not None and self._arrivals is not None:
            self._arrivals.add(number, asyncio.get_running_loop().time(), packet.ssrc)


async def _send(transport: Any, message: bytes) -> None:
    with suppress(ConnectionError):  # the call is over
        await transport._send_rtp(message)
