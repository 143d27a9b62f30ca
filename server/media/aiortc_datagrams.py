"""The way of RTP packets between the sockets and the relay, past aiortc's queues and tasks: two function calls each.

aiortc parses every datagram as STUN first, puts it into a queue and switches to a task that decrypts it; and it sends
packet by packet through four coroutines. DTLS, STUN and RTCP, of which there are few, go aiortc's way.
Touches the inside of aiortc and aioice (written against 1.15, 1.16 and 0.13); `tests/media/test_datagrams.py` fails
when it changes. Everything is set on single objects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pylibsrtp
from aiortc import RTCDtlsTransport, RTCRtpReceiver
from aiortc.rtcdtlstransport import State

from server.media.rtp import Packet

LARGEST = 2048  # bytes of a datagram from the network; what asyncio reads into by default, 256 KiB, is slow to allocate
SRTP_LARGEST = 1500  # bytes, libsrtp's buffer


def take_directly(
    transport: RTCDtlsTransport,
    receivers: Mapping[RTCRtpReceiver, Callable[[Packet], None]],
    noticed: Callable[[], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """From here on a transport's RTP packets are taken as they come. Once candidates are gathered.

    receivers: what takes each receiver's packets; those of others are left out. noticed: called with each that is real.
    """
    for protocol in transport.transport._connection._protocols:
        protocol.datagram_received = _Datagrams(transport, protocol.datagram_received, receivers, noticed, clock)
        if hasattr(protocol.transport, "max_size"):  # asyncio's
            protocol.transport.max_size = LARGEST


class _Datagrams:
    """Takes the place of an ICE protocol's datagram_received."""

    def __init__(
        self,
        transport: RTCDtlsTransport,
        others: Callable[[bytes, Any], None],
        receivers: Mapping[RTCRtpReceiver, Callable[[Packet], None]],
        noticed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._others = others
        self._receivers = receivers
        self._noticed = noticed
        self._clock = clock
        self._extensions = transport._rtp_header_extensions_map._HeaderExtensionsMap__ids

    def __call__(self, data: bytes, address: Any) -> None:
        transport = self._transport
        # RFC 7983: 128..191 is RTP or RTCP, which differ in the next byte (RFC 5761).
        if len(data) < 12 or not 128 <= data[0] < 192 or 192 <= data[1] < 224 or transport._state != State.CONNECTED:
            self._others(data, address)
            return
        if len(data) > SRTP_LARGEST:
            return
        try:
            packet = Packet(transport._rx_srtp.unprotect(data), self._clock(), self._extensions.abs_send_time)
        except (pylibsrtp.Error, ValueError):  # forged, repeated or malformed
            return
        transport._RTCDtlsTransport__rx_bytes += len(data)
        transport._RTCDtlsTransport__rx_packets += 1
        self._noticed()
        if (take := self._receivers.get(transport._rtp_router.route_rtp(packet))) is not None:
            take(packet)


def send_directly(transport: RTCDtlsTransport, packets: Iterable[bytes]) -> None:
    """Encrypts and sends RTP packets. Raises ConnectionError where there is no connection."""
    pair = transport.transport._connection._nominated.get(1)
    if transport._state != State.CONNECTED or pair is None:
        raise ConnectionError("not connected")
    protect, send, address = transport._tx_srtp.protect, pair.protocol.transport.sendto, pair.remote_addr
    sent = [protect(packet) for packet in packets]
    for data in sent:
        send(data, address)
    transport._RTCDtlsTransport__tx_bytes += sum(map(len, sent))
    transport._RTCDtlsTransport__tx_packets += len(sent)
