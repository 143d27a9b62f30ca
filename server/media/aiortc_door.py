"""The one door to aiortc: a peer's ICE, DTLS and SRTP, with its RTP and RTCP past aiortc's queues and tasks.

What aiortc and aioice keep private is used in this file only; `tests/media/test_aiortc_contract.py` says of each
attribute what breaks without it. Nothing is patched: the ICE connection is a subclass, handed in as it is made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal

import aioice
import pylibsrtp
from aioice.ice import CandidatePair, StunProtocol
from aioice.stun import Message, TransactionError
from aiortc import (
    RTCCertificate,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceCandidate,
    RTCIceGatherer,
    RTCIceParameters,
    RTCIceServer,
    RTCIceTransport,
)
from aiortc.rtcicetransport import connection_kwargs

LARGEST = 2048  # bytes of a datagram from the network; what asyncio reads into by default, 256 KiB, is slow to allocate
MAX_UNSENT = 256 * 1024  # bytes that may wait in a socket's buffer: half a second at 4 Mbit/s
MAX_UNREAD = 64  # datagrams of DTLS that may wait to be read
ICE_COMPONENT = 1  # RTP and RTCP share it

State = Literal["new", "connected", "over"]
Role = Literal["client", "server"]  # in DTLS


class PeerTransport:
    """ICE and DTLS with one peer. Its packets come decrypted, in the order of arrival, by two function calls each."""

    def __init__(
        self,
        servers: Sequence[RTCIceServer],
        on_rtp: Callable[[bytes], None],
        on_rtcp: Callable[[bytes], None],
        on_over: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """on_over: called when the connection fails, or is closed by the peer. To be made in the event loop."""
        self.state: State = "new"
        self.last_heard: float | None = None  # when anything came from the peer, connectivity checks included
        self._on_rtp, self._on_rtcp, self._on_over, self._clock = on_rtp, on_rtcp, on_over, clock
        self._closed = False
        self._incoming: pylibsrtp.Session | None = None  # while connected, as the other
        self._outgoing: pylibsrtp.Session | None = None
        self._connection = _Connection(self._received_media, self._heard, servers)
        self._gatherer = _Gatherer(servers, self._connection)
        self._ice = RTCIceTransport(self._gatherer)
        self._dtls = RTCDtlsTransport(self._ice, [RTCCertificate.generateCertificate()])
        self._ice.on("statechange", self._changed)
        self._dtls.on("statechange", self._changed)

    # --- connecting

    async def gather(self) -> None:
        """Opens the sockets and finds the local candidates."""
        await self._gatherer.gather()
        if self._closed:  # meanwhile
            await self._connection.close()
        for protocol in self._connection._protocols:
            if hasattr(protocol.transport, "max_size"):  # asyncio's
                protocol.transport.max_size = LARGEST
            _guard(protocol, self._connection)

    @property
    def candidates(self) -> list[RTCIceCandidate]:
        return self._gatherer.getLocalCandidates()

    @property
    def ice_parameters(self) -> RTCIceParameters:
        return self._gatherer.getLocalParameters()

    def dtls_parameters(self, role: Role) -> RTCDtlsParameters:
        parameters = self._dtls.getLocalParameters()
        parameters.role = role
        return parameters

    async def add_candidate(self, candidate: RTCIceCandidate | None) -> None:
        """A remote one; None: that was all."""
        await self._ice.addRemoteCandidate(candidate)

    async def connect(self, ice: RTCIceParameters, dtls: RTCDtlsParameters, role: Role) -> None:
        """Once candidates are gathered; afterwards `state` tells how it went.

        ice, dtls: the remote ones; role: the local one.
        """
        self._connection.ice_controlling = ice.iceLite
        self._dtls._set_role(role)
        await self._ice.start(ice)
        if self._ice.state == "completed":
            await self._dtls.start(dtls)

    async def close(self) -> None:
        """Says goodbye to the peer and closes the sockets."""
        self._closed, self._on_over = True, lambda: None
        await self._dtls.stop()
        await self._ice.stop()

    # --- packets

    def send_rtp(self, packets: Iterable[bytes]) -> None:
        """Encrypts and sends them. Raises ConnectionError where there is no connection."""
        pair, srtp = self._selected(), self._outgoing
        if pair is None or srtp is None:
            raise ConnectionError("not connected")
        protect, send, address = srtp.protect, pair.protocol.transport.sendto, pair.remote_addr
        for data in [protect(packet) for packet in packets]:
            send(data, address)

    def send_rtcp(self, packet: bytes) -> None:
        pair, srtp = self._selected(), self._outgoing
        if pair is not None and srtp is not None:
            pair.protocol.transport.sendto(srtp.protect_rtcp(packet), pair.remote_addr)

    @property
    def congested(self) -> bool:
        """Whether what was sent still waits in the socket's buffer. Not known of a TURN relay's."""
        pair = self._selected()
        waiting = getattr(pair.protocol.transport, "get_write_buffer_size", None) if pair else None
        return waiting is not None and waiting() > MAX_UNSENT

    async def round_trip(self) -> float | None:
        """Seconds that the peer takes to answer a connectivity check (RFC 7675); None if it does not."""
        pair, connection, started = self._selected(), self._connection, self._clock()
        if pair is None:
            return None
        request = connection.build_request(pair, nominate=False)
        key = (connection.remote_password or "").encode()
        with suppress(TransactionError, OSError):
            await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
            self._heard()
            return self._clock() - started
        return None

    # --- inside

    def _selected(self) -> CandidatePair | None:
        """The pair of candidates over which packets go."""
        return self._connection._nominated.get(ICE_COMPONENT)

    def _heard(self) -> None:
        self.last_heard = self._clock()

    def _received_media(self, data: bytes) -> None:
        if self._incoming is None:
            return
        rtcp = len(data) > 1 and 192 <= data[1] < 224  # RFC 5761
        try:
            packet = self._incoming.unprotect_rtcp(data) if rtcp else self._incoming.unprotect(data)
        except (pylibsrtp.Error, ValueError):  # forged, repeated or too long
            return
        self._heard()
        (self._on_rtcp if rtcp else self._on_rtp)(packet)

    def _changed(self) -> None:
        if self._dtls.state == "connected" and self._ice.state == "completed":
            self._incoming, self._outgoing = self._dtls._rx_srtp, self._dtls._tx_srtp
            self.state = "connected"
        elif {self._dtls.state, self._ice.state} & {"failed", "closed"} and self.state != "over":
            self._incoming = self._outgoing = None
            self.state = "over"
            self._on_over()


class _Connection(aioice.Connection):
    """Hands RTP and RTCP on as they come, instead of queueing them with DTLS. What is neither is left out."""

    def __init__(
        self, on_media: Callable[[bytes], None], on_heard: Callable[[], None], servers: Sequence[RTCIceServer]
    ) -> None:
        super().__init__(ice_controlling=False, **connection_kwargs(list(servers)))
        self.on_media, self._on_heard = on_media, on_heard

    def data_received(self, data: bytes, component: int) -> None:
        if _is_media(data):
            self.on_media(data)
        elif _is_dtls(data) and self._queue.qsize() < MAX_UNREAD:
            self._on_heard()
            super().data_received(data, component)

    def request_received(self, message: Message, *where: Any) -> None:
        if message.check_message_integrity(self.local_password.encode()):  # else it is a stranger's
            self._on_heard()
        super().request_received(message, *where)

    def knows(self, address: tuple[Any, ...]) -> bool:
        """Whether a remote candidate has it: named in the offer, or learned from an authenticated check."""
        place = address[:2]
        learning = any(came_from == place for _, came_from, _ in self._early_checks)  # before connect()
        return learning or any((one._network_host, one.port) == place for one in self._remote_candidates)


class _Guard(asyncio.DatagramProtocol):
    """Stands before a socket of aioice's. Anybody may send anything to its port, and what lies behind it fails on a
    datagram without a byte, on attributes of STUN with wrong lengths, and on DTLS that a stranger sends amid a
    handshake."""

    def __init__(self, behind: StunProtocol, connection: _Connection) -> None:
        self._behind, self._connection = behind, connection

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if _is_media(data):
            self._connection.on_media(data)
        elif _is_stun(data) or (_is_dtls(data) and self._connection.knows(addr)):
            # aioice and its parser raise errors of many kinds; all of them mean that the datagram is of no use.
            with suppress(Exception):
                self._behind.datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        self._behind.error_received(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._behind.connection_lost(exc)


def _guard(protocol: StunProtocol, connection: _Connection) -> None:
    guard = _Guard(protocol, connection)
    relayed = getattr(protocol.transport, "_TurnTransport__inner_protocol", None)  # by a TURN server
    if relayed is None:
        protocol.transport.set_protocol(guard)
    else:
        relayed.receiver = guard


# What a datagram is, by its first byte (RFC 7983).
def _is_media(data: bytes) -> bool:
    return bool(data) and 128 <= data[0] < 192


def _is_dtls(data: bytes) -> bool:
    return bool(data) and 20 <= data[0] < 64


def _is_stun(data: bytes) -> bool:
    return bool(data) and data[0] < 4


class _Gatherer(RTCIceGatherer):
    """Gathers for a connection of ours."""

    def __init__(self, servers: Sequence[RTCIceServer], connection: _Connection) -> None:
        super().__init__(list(servers))
        self._connection = connection
