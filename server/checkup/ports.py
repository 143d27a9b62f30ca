"""The media's UDP ports on this machine: whether they can be had, and whether anything comes through."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from ipaddress import ip_address

from aioice.ice import get_host_addresses

from server.checkup.check import Fault
from server.media.ice_connection import MAX_SOCKETS

ARRIVES = 1.0  # seconds that a datagram may take on one machine
LOOPBACK = "127.0.0.1"
FIREWALL = "a firewall on this machine drops them: let UDP to the media ports (HIME_UDP_PORTS) in"


def own_addresses() -> list[str]:
    """Those that the relay offers, as aioice finds them: without loopback."""
    return get_host_addresses(use_ipv4=True, use_ipv6=True)[:MAX_SOCKETS]


async def ports(first: int, last: int, addresses: Sequence[str]) -> str:
    """Binds the ports and sends a datagram to one at each address, loopback among them. Raises Fault."""
    if not addresses:
        raise Fault("this machine has no address but loopback", "guests elsewhere need one: set the network up", False)
    free = {address: _free(address, first, last) for address in addresses}
    if taken := [address for address, some in free.items() if not some]:
        what = _port_words(first, last)
        raise Fault(
            f"{what} in use at {', '.join(taken)}, by the relay if it runs now",
            "if no relay runs, take other ports (HIME_UDP_PORTS), or end what holds them",
            required=False,
        )
    tried = [LOOPBACK, *addresses]
    came = await asyncio.gather(*(_comes_through(address, (free.get(address) or [0])[0]) for address in tried))
    if lost := [address for address, there in zip(tried, came, strict=True) if not there]:
        raise Fault(f"datagrams to {', '.join(lost)} do not come through", FIREWALL)
    least = min(map(len, free.values()))
    return f"{_port_words(first, last, least)} free; datagrams come through at {', '.join(tried)}"


def _port_words(first: int, last: int, free: int = 0) -> str:
    if first == 0:
        return "any UDP port is"
    if first == last:
        return f"UDP port {first} is"
    return f"{free} of {last - first + 1} UDP ports {first}-{last} are" if free else f"UDP ports {first}-{last} are"


def _free(address: str, first: int, last: int) -> list[int]:
    """The ports that can be bound. Raises Fault where the address cannot."""
    found = []
    for port in range(first, last + 1):
        with closing(_socket(address)) as bound:
            try:
                bound.bind((address, port))
                found.append(port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise Fault(f"UDP port {port} cannot be had at {address}: {error.strerror}") from None
    return found


async def _comes_through(address: str, port: int) -> bool:
    loop, word = asyncio.get_running_loop(), secrets.token_bytes(16)
    with closing(_socket(address)) as there, closing(_socket(address)) as here, suppress(OSError, TimeoutError):
        there.bind((address, port))
        here.bind((address, 0))
        await loop.sock_sendto(here, word, there.getsockname())
        async with asyncio.timeout(ARRIVES):
            while await loop.sock_recv(there, 64) != word:
                pass
        return True
    return False


def _socket(address: str) -> socket.socket:
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def reachable_words(addresses: Iterable[str]) -> str:
    """The addresses, each said to be private where it is."""
    return ", ".join(one + (" (private)" if ip_address(one).is_private else "") for one in addresses)
