"""How a sender's frames leave: all packets of a frame at once, in the place of aiortc's loop, which takes them singly.

Touches the inside of aiortc's senders (written against 1.15 and 1.16); `tests/media/test_outbound.py` fails when it
changes. RTCP stays aiortc's.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import Any

from aiortc import RTCRtpSender
from aiortc.clock import current_ntp_time
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RTP_HISTORY_SIZE, HeaderExtensions
from aiortc.utils import random16, random32, uint16_add, uint32_add

from server.media.aiortc_datagrams import send_directly
from server.media.aiortc_private import private, set_private
from server.media.tracks import EncodedFrame, VideoTrack

log = logging.getLogger(__name__)

_FIXED, _EXTENSION, _NUMBER = struct.Struct("!BBHLL"), struct.Struct("!HH"), struct.Struct("!H")


class Outbound:
    """Sends a track's frames, and packets of them again when the peer asks for them."""

    def __init__(self, sender: RTCRtpSender, track: VideoTrack) -> None:
        self.sent: int | None = None  # the last frame's timestamp
        self._sender = sender
        self._track = track
        self._number = random16() & 0x7FFF  # as in aiortc: no wrap at the start, which confuses SRTP (RFC 3711)
        self._repair_number = random16() & 0x7FFF
        self._origin = random32()
        self._payload_type = 0
        self._history: dict[int, tuple[int, int, int, bytes]] = {}  # number, timestamp, marker, payload

    async def run(self, codec: Any) -> None:
        """In the place of the sender's _run_rtp."""
        self._payload_type = codec.payloadType
        private(self._sender, "rtp_started").set()
        try:
            while True:
                self._send(await self._track.recv())
                self._track.send_with(self._send_now)  # what comes from here on takes no turn of the event loop
        except (asyncio.CancelledError, ConnectionError, MediaStreamError):
            pass
        except Exception:
            log.exception("a watcher gets no more video")
        finally:
            self._track.send_with(None)
            self._track.stop()
            set_private(self._sender, "track", None)
            private(self._sender, "rtp_exited").set()  # without it, the sender's stop() hangs

    async def retransmit(self, number: int) -> None:
        """In the place of the sender's _retransmit: as a retransmission (RFC 4588) where the peer speaks of them."""
        kept = self._history.get(number % RTP_HISTORY_SIZE)
        if kept is None or kept[0] != number:
            return
        _, timestamp, marker, payload = kept
        payload_type, ssrc = private(self._sender, "rtx_payload_type"), self._sender._rtx_ssrc
        if payload_type is None:
            payload_type, ssrc = self._payload_type, self._sender._ssrc
        else:
            payload = _NUMBER.pack(number) + payload
            number, self._repair_number = self._repair_number, uint16_add(self._repair_number, 1)
        first, extensions = self._extensions(current_ntp_time())
        fixed = _FIXED.pack(first, marker << 7 | payload_type, number, timestamp, ssrc)
        send_directly(self._sender.transport, [fixed + extensions + payload])

    def _send_now(self, frame: EncodedFrame) -> None:
        """For whoever puts a frame, whom the errors of this watcher do not concern. The end of the track ends run()."""
        try:
            self._send(frame)
        except ConnectionError:
            self._track.stop()
        except Exception:
            log.exception("a watcher gets no more video")
            self._track.stop()

    def _send(self, frame: EncodedFrame) -> None:
        if not self._sender._enabled:
            return
        sender, now, last = self._sender, current_ntp_time(), len(frame.payloads) - 1
        timestamp = uint32_add(self._origin, frame.timestamp)
        first, extensions = self._extensions(now)
        packets = []
        for index, payload in enumerate(frame.payloads):
            number, marker = self._number, int(index == last)
            fixed = _FIXED.pack(first, marker << 7 | self._payload_type, number, timestamp, sender._ssrc)
            packets.append(fixed + extensions + payload)
            self._history[number % RTP_HISTORY_SIZE] = number, timestamp, marker, payload
            self._number = uint16_add(number, 1)
        send_directly(sender.transport, packets)
        self.sent = frame.timestamp
        sender._RTCRtpSender__ntp_timestamp, sender._RTCRtpSender__rtp_timestamp = now, timestamp  # for its reports
        sender._RTCRtpSender__octet_count += frame.size
        sender._RTCRtpSender__packet_count += len(packets)

    def _extensions(self, now: int) -> tuple[int, bytes]:
        """The first byte of a packet that is sent now, NTP time, and its header extensions."""
        values = HeaderExtensions(abs_send_time=now >> 14 & 0xFFFFFF, mid=private(self._sender, "mid"))
        profile, data = private(self._sender, "rtp_header_extensions_map").set(values)
        return (0x90, _EXTENSION.pack(profile, len(data) >> 2) + data) if data else (0x80, b"")
