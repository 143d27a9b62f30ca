"""The one door to aiortc: a peer's ICE, DTLS and SRTP, with its RTP and RTCP past aiortc's queues and tasks.

What aiortc and aioice keep private is used in this file only; `tests/media/test_aiortc_contract.py` says of each
attribute what breaks without it. Nothing is patched: the ICE connection is a subclass, handed in as it is made.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from itertools import chain
from typing import Any, Literal

import aioice
import pylibsrtp
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol, server_reflexive_candidate
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

from server.media.sockets import NoPort, OwnPorts, Sockets

MAX_UNSENT = 256 * 1024  # bytes that may wait in a socket's buffer: half a second at 4 Mbit/s
MAX_SOCKETS = 8  # of one connection, one for each of the machine's addresses: pairing takes the square of their number
MAX_LEARNED = 16  # addresses of a peer that it did not name, but sends checks from
MAX_WAITING = 64  # datagrams that wait for DTLS to read them
ICE_COMPONENT = 1  # RTP and RTCP share it
SERVER_PATIENCE = 2  # seconds that an answer waits for STUN and TURN servers; aioice's own are 5
# With forward secrecy (RFC 8827, section 6.5); the first is the one that all of WebRTC has.
CIPHERS = b":".join(
    b"ECDHE-%s-%s" % (signed, cipher)
    for cipher in (b"AES128-GCM-SHA256", b"CHACHA20-POLY1305", b"AES128-SHA", b"AES256-SHA")
    for signed in (b"ECDSA", b"RSA")
)

State = Literal["new", "connected", "over"]
Role = Literal["client", "server"]  # in DTLS


@dataclass(frozen=True)
class Network:
    """How media find their way to the relay.

    servers: STUN and TURN servers; the relay itself asks the first of each, unless addresses are announced. announced:
    addresses under which the world reaches the relay's own ones, port by port, as behind a 1:1 NAT or in a container.
    """

    sockets: Sockets = field(default_factory=OwnPorts)
    announced: tuple[str, ...] = ()
    servers: tuple[RTCIceServer, ...] = ()


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
        self.last_heard: float | None = None  # when media or a check of the peer's came, or it answered one
        self.said_goodbye = False  # whether the peer has closed the connection
        self._on_rtp, self._on_rtcp, self._on_over, self._clock = on_rtp, on_rtcp, on_over, clock
        self._closed = False
        self._incoming: pylibsrtp.Session | None = None  # while connected, as the other
        self._outgoing: pylibsrtp.Session | None = None
        self._network = network
        self._connection = _Connection(self._received_media, self._heard, network, refused)
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
            # Where ICE has failed, DTLS is closed too, but has no way left by which that could have been asked for.
            self.said_goodbye = self._dtls.state == "closed" and self._selected() is not None
            self.state = "over"
            self._on_over()


class _Connection(aioice.Connection):
    """Takes its sockets from the network's, and hands RTP and RTCP on as they come, instead of queueing them with
    DTLS. Bounded where aioice is not."""

    def __init__(
        self,
        on_media: Callable[[bytes], None],
        on_heard: Callable[[], None],
        network: Network,
        refused: Callable[[str], None],
    ) -> None:
        # A fragment of aioice's own has four letters; sessions that share a port are told apart by it.
        fragment = secrets.token_hex(8)
        # Where the world reaches the relay under an announced address, it needs no server's help to be found.
        servers = [] if network.announced else list(network.servers)
        super().__init__(ice_controlling=False, local_username=fragment, **connection_kwargs(servers))
        self._on_media, self._on_heard, self._network, self._refused = on_media, on_heard, network, refused

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: int = SERVER_PATIENCE
    ) -> list[Candidate]:
        """As aioice's, but for the sockets. Raises NoPort where no port is left at any address."""
        found, full = [], None
        for address in addresses[:MAX_SOCKETS]:
            try:
                protocol = await self._network.sockets.open(address, self)
            except NoPort as error:
                full = error
            except OSError:  # such as an address that is being set up
                continue
            else:
                protocol.local_candidate = _host_candidate(component, protocol)
                self._protocols.append(protocol)
                found.append(protocol)
        if full is not None and not found:
            raise full
        relayed, *reflexive = await asyncio.gather(
            super().get_component_candidates(component, [], timeout),
            *(self._reflexive(protocol, timeout) for protocol in found if self._asks_stun(protocol)),
        )
        return [protocol.local_candidate for protocol in found] + list(chain(*reflexive, relayed))

    def _asks_stun(self, protocol: StunProtocol) -> bool:
        version: int = ip_address(protocol.local_candidate.host).version
        return bool(self.stun_server) and version == 4

    async def _reflexive(self, protocol: StunProtocol, timeout: float) -> list[Candidate]:
        assert self.stun_server is not None
        with suppress(TransactionError, OSError, TimeoutError):
            candidate, _ = await asyncio.wait_for(server_reflexive_candidate(protocol, self.stun_server), timeout)
            return [candidate]
        return []

    def data_received(self, data: bytes, component: int) -> None:
        if data and 128 <= data[0] < 192:  # RFC 7983
            self._on_media(data)
        elif self._queue.qsize() >= MAX_WAITING:  # whoever knows the port may send to it
            self._refused("datagrams")
        else:
            super().data_received(data, component)

    def request_received(self, message: Message, *where: Any) -> None:
        if message.check_message_integrity(self.local_password.encode()):  # or anyone could keep a lost peer alive
            self._on_heard()
        super().request_received(message, *where)

    def check_incoming(self, message: Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """A peer with the right password may send from as many addresses as it likes: each would be paired for good."""
        remote = self._remote_candidates
        known = any((one._network_host, one.port) == addr for one in remote)
        if not known and sum(one.type == "prflx" for one in remote) >= MAX_LEARNED:
            self._refused("candidates")
            return
        super().check_incoming(message, addr, protocol)


class _Certificate(RTCCertificate):
    """Also speaks with peers whose certificates are RSA ones, as GStreamer's are; aiortc's speaks with ECDSA alone."""

    def _create_ssl_context(self, srtp_profiles: Any) -> Any:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(CIPHERS)
        return context


class _Gatherer(RTCIceGatherer):
    """Gathers for a connection of ours."""

    def __init__(self, connection: _Connection) -> None:
        super().__init__([])
        self._connection = connection


def _host_candidate(component: int, protocol: StunProtocol) -> Candidate:
    host, port = protocol.transport.get_extra_info("sockname")[:2]
    return Candidate(
        foundation=candidate_foundation("host", "udp", host),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "host"),
        host=host,
        port=port,
        type="host",
    )


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
