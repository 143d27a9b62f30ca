"""ICE with one peer, on the network's sockets: aioice's, bounded, and guarded against strangers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import chain
from typing import Any

import aioice
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import StunProtocol, server_reflexive_candidate
from aioice.stun import Message, TransactionError
from aiortc import RTCIceServer
from aiortc.rtcicetransport import connection_kwargs

from server.media.sockets import NoPort, OwnPorts, Sockets

MAX_SOCKETS = 8  # of one connection, one for each of the machine's addresses: pairing takes the square of their number
MAX_LEARNED = 16  # addresses of a peer that it did not name, but sends checks from
MAX_WAITING = 64  # datagrams that wait for DTLS to read them
ICE_COMPONENT = 1  # RTP and RTCP share it
SERVER_PATIENCE = 2  # seconds that an answer waits for STUN and TURN servers; aioice's own are 5


@dataclass(frozen=True)
class Network:
    """How media find their way to the relay.

    servers: STUN and TURN servers; the relay itself asks the first of each, unless addresses are announced. announced:
    addresses under which the world reaches the relay's own ones, port by port, as behind a 1:1 NAT or in a container.
    """

    sockets: Sockets = field(default_factory=OwnPorts)
    announced: tuple[str, ...] = ()
    servers: tuple[RTCIceServer, ...] = ()


class IceConnection(aioice.Connection):
    """Takes its sockets from the network's, and hands RTP and RTCP on as they come, instead of queueing them with
    DTLS. Bounded where aioice is not, and deaf to what is none of these."""

    def __init__(
        self,
        on_media: Callable[[bytes], None],
        on_heard: Callable[[], None],
        network: Network,
        refused: Callable[[str], None],
    ) -> None:
        """on_heard: called for each sign of life of the peer; refused: counts what is left out."""
        # A fragment of aioice's own has four letters; sessions that share a port are told apart by it.
        fragment = secrets.token_hex(8)
        # Where the world reaches the relay under an announced address, it needs no server's help to be found.
        servers = [] if network.announced else list(network.servers)
        super().__init__(ice_controlling=False, local_username=fragment, **connection_kwargs(servers))
        self.on_media, self._on_heard, self._network, self._refused = on_media, on_heard, network, refused

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: int = SERVER_PATIENCE
    ) -> list[Candidate]:
        """As aioice's, but for the sockets. Raises NoPort where no port is left at any address."""
        found, full = [], None
        for address in addresses[:MAX_SOCKETS]:
            protocol = _PeerProtocol(self)
            try:
                await self._network.sockets.open(address, protocol)
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
        self._protocols = [_guarded(protocol) for protocol in self._protocols]
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
        if _is_media(data):
            self.on_media(data)
        elif self._queue.qsize() >= MAX_WAITING:  # whoever knows the port may send to it
            self._refused("datagrams")
        elif _is_dtls(data):
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

    def check_incoming(self, message: Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """A peer with the right password may send from as many addresses as it likes: each would be paired for good."""
        remote = self._remote_candidates
        known = any((one._network_host, one.port) == addr for one in remote)
        if not known and sum(one.type == "prflx" for one in remote) >= MAX_LEARNED:
            self._refused("candidates")
            return
        super().check_incoming(message, addr, protocol)


class _PeerProtocol(StunProtocol):
    """aioice's end of a socket. Anybody may send anything to its port, and aioice fails on a datagram without a byte,
    on attributes of STUN with wrong lengths, and on DTLS that a stranger sends amid a handshake."""

    receiver: IceConnection

    def datagram_received(self, data: Any, addr: tuple[Any, ...]) -> None:
        if _is_media(data):
            self.receiver.on_media(data)
        elif _is_stun(data) or (_is_dtls(data) and self.receiver.knows(addr)):
            # aioice and its parser raise errors of many kinds; all of them mean that the datagram is of no use.
            with suppress(Exception):
                super().datagram_received(data, addr)


def _guarded(protocol: StunProtocol) -> StunProtocol:
    """What aioice itself has made for the address that a TURN server relays, with the guard of the others."""
    relayed = getattr(protocol.transport, "_TurnTransport__inner_protocol", None)
    if relayed is None:
        return protocol
    guarded = _PeerProtocol(protocol.receiver)
    guarded.local_candidate = protocol.local_candidate
    guarded.connection_made(protocol.transport)
    relayed.receiver = guarded
    return guarded


# What a datagram is, by its first byte (RFC 7983).
def _is_media(data: bytes) -> bool:
    return bool(data) and 128 <= data[0] < 192


def _is_dtls(data: bytes) -> bool:
    return bool(data) and 20 <= data[0] < 64


def _is_stun(data: bytes) -> bool:
    return bool(data) and data[0] < 4


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
