"""The UDP sockets that media go over: a port for each session, or one port for all of them."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

from aioice.ice import StunProtocol
from aioice.stun import Class, Message, parse_message

LARGEST = 2048  # bytes of a datagram from the network; what asyncio reads into by default, 256 KiB, is slow to allocate
# Bytes that the system may hold of a socket that is not read at once; it may grant less.
OWN_BUFFER, SHARED_BUFFER = 256 * 1024, 4 * 1024 * 1024
MAX_SOURCES = 32  # addresses that one session's datagrams come from: a peer that knows it could name any number

P = TypeVar("P", bound=asyncio.DatagramProtocol)


class NoPort(OSError):
    """Every port that media may use is taken."""


class Sockets(Protocol):
    """Where sessions get their sockets from."""

    async def open(self, address: str, protocol: StunProtocol) -> None:
        """Lets it send and receive at that local address for its ICE connection. Raises OSError."""

    def close(self) -> None:
        """Once every session has ended."""


class OwnPorts:
    """Each session has a port of its own: any free one, or one from `first` to `last`."""

    def __init__(self, first: int = 0, last: int = 0) -> None:
        self._ports = range(first, last + 1)

    async def open(self, address: str, protocol: StunProtocol) -> None:
        """Raises NoPort where all are taken, OSError where the address cannot be bound."""
        ports, error = self._ports, OSError()
        # From a random place on: ports that were just given up are not taken again at once, when packets of the
        # session before may still come.
        begin = random.randrange(len(ports))
        for at in range(len(ports)):
            try:
                port = ports[(begin + at) % len(ports)]
                await _bound(address, port, lambda: protocol, OWN_BUFFER)
                return
            except OSError as caught:
                error = caught
                if caught.errno != errno.EADDRINUSE:
                    raise
        raise NoPort(f"the media ports {ports.start} to {ports.stop - 1} are all in use") from error

    def close(self) -> None:
        """Sessions close their own."""


class SharedPort:
    """All sessions share one port at each local address.

    A connectivity check names its session by the local username fragment (RFC 8445, section 7.2.2). From the first one
    that proves to know the session's password, datagrams of its source belong to that session.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._opening = asyncio.Lock()
        self._doors: dict[str, _SharedSocket] = {}

    async def open(self, address: str, protocol: StunProtocol) -> None:
        async with self._opening:
            door = self._doors.get(address)
            if door is None or door.transport.is_closing():
                door = self._doors[address] = await _bound(address, self._port, _SharedSocket, SHARED_BUFFER)
        door.enter(protocol)

    def close(self) -> None:
        for door in self._doors.values():
            door.transport.close()
        self._doors.clear()


def sockets_for(first: int, last: int) -> Sockets:
    """Those for a range of ports; a range of one is shared, and 0 to 0 means any free ones."""
    return SharedPort(first) if first == last != 0 else OwnPorts(first, last)


class _SharedSocket(asyncio.DatagramProtocol):
    """One bound socket, and the sessions behind it."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self._by_fragment: dict[str, StunProtocol] = {}
        self._by_source: dict[tuple[str, int], StunProtocol] = {}

    def enter(self, protocol: StunProtocol) -> None:
        self._by_fragment[protocol.receiver.local_username] = protocol
        protocol.connection_made(_Share(self, protocol))

    def leave(self, protocol: StunProtocol) -> None:
        self._by_fragment.pop(protocol.receiver.local_username, None)
        for source in self._sources(protocol):
            del self._by_source[source]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is no subclass of it

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        source = addr[0], addr[1]
        protocol = self._by_source.get(source)
        if data and data[0] < 4:  # STUN (RFC 7983)
            protocol = self._addressed(data, source) or protocol
        if protocol is not None:
            protocol.datagram_received(data, source)

    def connection_lost(self, exc: Exception | None) -> None:
        for protocol in list(self._by_fragment.values()):
            protocol.connection_lost(exc)

    def _addressed(self, data: bytes, source: tuple[str, int]) -> StunProtocol | None:
        """Whom a STUN message is for; None where only its source can tell, or nobody."""
        try:
            message = parse_message(data)
        except Exception:  # its errors are of many kinds; all of them mean that the datagram is of no use
            return None
        if message.message_class != Class.REQUEST:
            # Answers may come from a STUN server that several sessions ask, or before the source is known.
            asked = (one for one in self._by_fragment.values() if message.transaction_id in one.transactions)
            return next(asked, None)
        fragment = str(message.attributes.get("USERNAME", "")).partition(":")[0]
        protocol = self._by_fragment.get(fragment)
        # Who has a source keeps it: somebody else's check with a forged source must not take a call's packets away.
        if protocol is not None and source not in self._by_source and _proven(message, protocol):
            if len(known := self._sources(protocol)) >= MAX_SOURCES:
                del self._by_source[known[0]]
            self._by_source[source] = protocol
        return protocol

    def _sources(self, protocol: StunProtocol) -> list[tuple[str, int]]:
        return [source for source, one in self._by_source.items() if one is protocol]


class _Share(asyncio.DatagramTransport):
    """A session's part of a shared socket, as its own transport."""

    def __init__(self, door: _SharedSocket, protocol: StunProtocol) -> None:
        super().__init__()
        self._door, self._protocol, self._closing = door, protocol, False

    def sendto(self, data: Any, addr: Any = None) -> None:
        if not self._closing:
            self._door.transport.sendto(data, addr)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._door.transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        # asyncio's datagram transports have it, though their base class does not say so.
        waiting: int = self._door.transport.get_write_buffer_size()  # type: ignore[attr-defined]
        return waiting

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._door.leave(self._protocol)
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close


def _proven(message: Message, protocol: StunProtocol) -> bool:
    """Whether its sender knows the session's password."""
    return "MESSAGE-INTEGRITY" in message.attributes and bool(
        message.check_message_integrity(protocol.receiver.local_password.encode())
    )


async def _bound(address: str, port: int, make: Callable[[], P], buffer: int) -> P:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(make, local_addr=(address, port))
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    if hasattr(transport, "max_size"):  # asyncio's
        transport.max_size = LARGEST
    return protocol
