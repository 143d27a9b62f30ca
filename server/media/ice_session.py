"""One ICE session with a peer: a peer connection has another one after each ICE restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address

from aioice.candidate import candidate_foundation
from aioice.ice import CandidatePair
from aiortc import RTCIceCandidate, RTCIceGatherer, RTCIceParameters, RTCIceTransport

from server.media.ice_connection import ICE_COMPONENT, IceConnection, Network


class IceSession:
    """Sockets, candidates and checks, of which nothing is used again. To be made in the event loop."""

    def __init__(
        self,
        network: Network,
        on_media: Callable[[bytes], None],
        on_heard: Callable[[], None],
        refused: Callable[[str], None],
    ) -> None:
        """on_media: is given RTP and RTCP as they come; on_heard: called when the peer proves to be there."""
        self._network = network
        self.connection = IceConnection(on_media, on_heard, network, refused)
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
