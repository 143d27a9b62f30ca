"""STUN and TURN servers, asked as a browser asks them (RFC 8489, RFC 8656), with aioice's client."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from aioice import stun, turn
from aiortc.rtcicetransport import parse_stun_turn_uri

from server.checkup.check import Fault

PATIENCE = 5.0  # seconds for each server
RETRANSMISSIONS = 2
RELAYED_WITHIN = 2.0  # seconds from the allocation until a datagram arrives
SECRETS_DIFFER = "HIME_TURN_SECRET must be what the TURN server has as its static-auth-secret, and their clocks right"


@dataclass(frozen=True)
class Mapped:
    """As what a STUN server sees this machine. round_trip: seconds."""

    host: str
    round_trip: float


async def ask_stun(url: str) -> Mapped:
    """Asks by UDP. Raises Fault."""
    place = parse_stun_turn_uri(url)
    if place["scheme"] != "stun":
        raise Fault("STUN over TLS is asked by browsers alone: not checked", required=False)
    address = await _resolved(place["host"], place["port"])
    loop, began = asyncio.get_running_loop(), time.monotonic()
    local = "::" if ip_address(address[0]).version == 6 else "0.0.0.0"
    transport, asking = await loop.create_datagram_endpoint(_Asking, local_addr=(local, 0))
    try:
        response = await asking.request(address)
        return Mapped(response.attributes["XOR-MAPPED-ADDRESS"][0], time.monotonic() - began)
    except (stun.TransactionError, KeyError):
        raise Fault(
            f"{url} does not answer", "is its address right, and does a firewall let UDP out to it?", False
        ) from None
    finally:
        transport.close()


async def ask_turn(url: str, username: str | None, credential: str | None, peers: Sequence[str] = ()) -> str:
    """Allocates an address with the credentials, and sends over it to this machine's addresses `peers`.

    Raises Fault.
    """
    place = parse_stun_turn_uri(url)
    secure, transport = place["scheme"] == "turns", place["transport"]
    if secure and transport != "tcp":
        raise Fault(f"{url}: TURN over DTLS is not checked; browsers want ?transport=tcp", required=False)
    if username is None:
        raise Fault(f"{url} has no credentials", "set HIME_TURN_SECRET, or give them in HIME_ICE_SERVERS as JSON")
    how = "TLS" if secure else transport.upper()
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            allocated, errors = await turn.create_turn_endpoint(
                _Relayed,
                (place["host"], place["port"]),
                username=username,
                password=credential,
                ssl=ssl.create_default_context() if secure else None,
                transport=transport,
            )
    except Exception as error:
        raise _turn_fault(error, url, how) from None
    taken = 1000 * (time.monotonic() - began)
    try:
        host, port = allocated.get_extra_info("sockname")[:2]
        told = f"{url} allocates {host}:{port} over {how} in {taken:.0f} ms"
        return told if not peers else f"{told}, {await _relays(allocated, errors, url, peers)}"
    finally:
        allocated.close()


async def _relays(allocated: turn.TurnTransport, relayed: _Relayed, url: str, peers: Sequence[str]) -> str:
    """Raises Fault where no datagram arrives at any of the addresses."""
    loop = asyncio.get_running_loop()
    sockets = {address: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for address in peers}
    try:
        words = {}
        for address, one in sockets.items():
            one.setblocking(False)
            one.bind((address, 0))
            words[address] = secrets.token_bytes(16)
            allocated.sendto(words[address], one.getsockname())
        listening = {asyncio.ensure_future(loop.sock_recv(one, 64)): address for address, one in sockets.items()}
        done, waiting = await asyncio.wait(
            listening, timeout=RELAYED_WITHIN, return_when=asyncio.FIRST_COMPLETED
        )  # fmt: skip
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for task in done:
            if task.exception() is None and task.result() == words[listening[task]]:
                return f"and relays to {listening[task]}"
    finally:
        for one in sockets.values():
            one.close()
    why = f" ({relayed.error})" if relayed.error else ""
    raise Fault(
        f"{url} allocates, but relays nothing to {', '.join(peers)}{why}",
        "allow the relay's address there (coturn: allowed-peer-ip), and let its UDP in here",
        required=False,
    )


class _Asking(asyncio.DatagramProtocol):
    """One Binding request (RFC 8489, section 3)."""

    transport: asyncio.DatagramTransport
    _transaction: stun.Transaction
    _id: bytes

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    async def request(self, address: tuple[str, int]) -> stun.Message:
        message = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        self._id = message.transaction_id
        self._transaction = stun.Transaction(message, address, self, RETRANSMISSIONS)
        response, _ = await self._transaction.run()
        return response

    def send_stun(self, message: stun.Message, addr: tuple[str, int]) -> None:
        self.transport.sendto(bytes(message), addr)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        with suppress(Exception):  # what is no STUN message is none of ours
            message = stun.parse_message(data)
            if message.transaction_id == self._id:
                self._transaction.response_received(message, (addr[0], addr[1]))


class _Relayed(asyncio.DatagramProtocol):
    """The inner end of an allocation; remembers why something was not sent."""

    error = ""

    def error_received(self, exc: Exception) -> None:
        self.error = str(exc)


async def _resolved(host: str, port: int) -> tuple[str, int]:
    """Raises Fault."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise Fault(f"{host} cannot be found: {error.strerror}", "correct its name in HIME_ICE_SERVERS") from None
    return str(found[0][4][0]), port


def _turn_fault(error: Exception, url: str, how: str) -> Fault:
    if isinstance(error, stun.TransactionFailed) and error.response.error_code in (401, 431, 441):
        return Fault(f"{url} refuses the credentials", SECRETS_DIFFER)
    if isinstance(error, stun.TransactionFailed):
        return Fault(f"{url} refuses to allocate: {error}", "its log says why: perhaps a quota")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Fault(
            f"{url} has a certificate that is not trusted: {error.verify_message}",
            "browsers want one of a public authority, for that name; SSL_CERT_FILE names one's own for this check",
        )
    if isinstance(error, socket.gaierror):
        return Fault(f"{url} cannot be found: {error.strerror}", "correct its name in HIME_ICE_SERVERS")
    if isinstance(error, TimeoutError | stun.TransactionTimeout | OSError):
        why = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        return Fault(f"{url} does not answer over {how}{why}", "does it run, and do the firewalls let that through?")
    return Fault(f"{url}: {error}" if str(error) else f"{url}: {type(error).__name__}")
