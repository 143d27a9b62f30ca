"""The one door to aiortc: a peer's ICE, DTLS and SRTP, with its RTP and RTCP past aiortc's queues and tasks.

What aiortc and aioice keep private is used here and in `ice_connection.py` only;
`tests/media/test_aiortc_contract.py` says of each attribute what breaks without it. Nothing is patched: the ICE
connection is a subclass, handed in as it is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Literal

import pylibsrtp
from aioice.candidate import candidate_foundation
from aioice.ice import CandidatePair
from aioice.stun import TransactionError
from aiortc import (
    RTCCertificate,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceCandidate,
    RTCIceGatherer,
    RTCIceParameters,
    RTCIceTransport,
)

from server.media.ice_connection import ICE_COMPONENT, IceConnection, Network

MAX_UNSENT = 256 * 1024  # bytes that may wait in a socket's buffer: half a second at 4 Mbit/s
# With forward secrecy (RFC 8827, section 6.5); the first is the one that all of WebRTC has.
CIPHERS = b":".join(
    b"ECDHE-%s-%s" % (signed, cipher)
    for cipher in (b"AES128-GCM-SHA256", b"CHACHA20-POLY1305", b"AES128-SHA", b"AES256-SHA")
    for signed in (b"ECDSA", b"RSA")
)

State = Literal["new", "connected", "over"]
Role = Literal["client", "server"]  # in DTLS


class PeerTransport:
    """ICE and DTLS with one peer. Its packets come decrypted, in the order of arrival, by two function calls each."""

    def __init__(
        self,
        network: Network,
        on_rtp: Callable[[bytes], None],
        on_rtcp: Callable[[bytes], None],
        on_over: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """on_over: called when the connection fails, or is closed by the peer; refused: counts what is left out of what
        comes. To be made in the event loop."""
        self.state: State = "new"
        self.last_heard: float | None = None  # when anything came from the peer, connectivity checks included
        self._on_rtp, self._on_rtcp, self._on_over, self._clock = on_rtp, on_rtcp, on_over, clock
        self._closed = False
        self._incoming: pylibsrtp.Session | None = None  # while connected, as the other
        self._outgoing: pylibsrtp.Session | None = None
        self._network = network
        self._connection = IceConnection(self._received_media, self._heard, network, refused)
        self._gatherer = _Gatherer(self._connection)
        self._ice = RTCIceTransport(self._gatherer)
        self._dtls = RTCDtlsTransport(self._ice, [_Certificate.generateCertificate()])
        self._ice.on("statechange", self._changed)
        self._dtls.on("statechange", self._changed)

    # --- connecting

    async def gather(self) -> None:
        """Opens the sockets and finds the local candidates. Raises NoPort."""
        await self._gatherer.gather()
        if self._closed:  # meanwhile
            await self._connection.close()

    @property
    def candidates(self) -> list[RTCIceCandidate]:
        """Those that are announced come first, and are preferred."""
        own = self._gatherer.getLocalCandidates()
        return [*_announced(own, self._network.announced), *own]

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


class _Certificate(RTCCertificate):
    """Also speaks with peers whose certificates are RSA ones, as GStreamer's are; aiortc's speaks with ECDSA alone."""

    def _create_ssl_context(self, srtp_profiles: Any) -> Any:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(CIPHERS)
        return context


class _Gatherer(RTCIceGatherer):
    """Gathers for a connection of ours."""

    def __init__(self, connection: IceConnection) -> None:
        super().__init__([])
        self._connection = connection


def _announced(own: Iterable[RTCIceCandidate], addresses: Iterable[str]) -> list[RTCIceCandidate]:
    """For each address one candidate a port that the relay has under addresses of the same version."""
    hosts = [one for one in own if one.type == "host"]
    return [
        replace(one, ip=address, foundation=candidate_foundation("host", "udp", address), priority=one.priority + 1)
        for address in addresses
        for one in {
            one.port: one for one in hosts if ip_address(one.ip).version == ip_address(address).version
        }.values()
    ]
