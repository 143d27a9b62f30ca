"""One ICE session: the sockets, the candidates and the checks by which one peer is reached.

What aioice keeps private is used here and in `aiortc_door.py` only. Nothing is patched: the ICE connection is a
subclass, handed in as it is made.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from itertools import chain
from typing import Any

import aioice
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol, server_reflexive_candidate
from aioice.stun import Message, TransactionError
from aiortc import RTCIceCandidate, RTCIceGatherer, RTCIceParameters, RTCIceServer, RTCIceTransport
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


class IceSession:
    """Of one peer connection, which has another one after an ICE restart. To be made in the event loop."""

    def __init__(
        self,
        network: Network,
        on_media: Callable[[bytes], None],
        on_heard: Callable[[], None],
        refused: Callable[[str], None],
    ) -> None:
        """on_media: is given RTP and RTCP as they come; on_heard: called when the peer proves to be there."""
        self._network = network
        self.connection = _Connection(on_media, on_heard, network, refused)
        self._gatherer = _Gatherer(self.connection)
        self.transport = RTCIceTransport(self._gatherer)

    @property
    def selected(self) -> CandidatePair | None:
        """The pair of candidates over which packets go."""
        return self.connection._nominated.get(ICE_COMPONENT)

    @property
    def parameters(self) -> RTCIceParameters:
        return self._gatherer.getLocalParameters()

    @property
    def candidates(self) -> list[RTCIceCandidate]:
        """Those that are announced come first, and are preferred."""
        own = self._gatherer.getLocalCandidates()
        return [*_announced(own, self._network.announced), *own]

    async def gather(self) -> None:
        """Opens the sockets and finds the local candidates. Raises NoPort."""
        await self._gatherer.gather()

    async def start(self, ice: RTCIceParameters) -> bool:
        """Checks the pairs until one is found or, once no more candidates are to come, all have failed. ice: the
        peer's. False where none is found."""
        self.connection.ice_controlling = ice.iceLite
        await self.transport.start(ice)
        return self.transport.state == "completed"

    def follow(self, before: IceSession) -> None:
        """DTLS goes on reading from the queue of the session before, also while it still waits for that one."""
        self.connection._queue = before.connection._queue

    async def close(self) -> None:
        """Closes the sockets; whoever reads from the connection learns it."""
        await self.transport.stop()

    async def discard(self) -> None:
        """Closes the sockets, and nobody learns it: another session is in use."""
        self.transport.remove_all_listeners()
        self.connection._queue = asyncio.Queue()  # in whose place the other session's is read
        await self.close()


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
