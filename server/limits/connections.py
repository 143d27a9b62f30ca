"""HTTP connections: how many there may be, and how long one may take to say what it wants."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from server.limits.rates import Count, network, uncounted
from server.problems import problem_response

REFUSED_MORE = 2  # times the limit, from which on connections are closed without an answer


@dataclass
class Connections:
    """most, of_each: in all and from one address; loopback addresses have no limit of their own, as a proxy may be
    behind one. timeout: seconds for the headers of a request to come."""

    most: int
    of_each: int
    timeout: float
    refused: Count = uncounted
    open: int = 0
    by_network: Counter[str] = field(default_factory=Counter)  # without networks that have none

    def add(self, address: str) -> bool:
        """Whether it may be; it counts in any case, until it is removed."""
        key = network(address)
        self.open += 1
        self.by_network[key] += 1
        return self.open <= self.most and (self.by_network[key] <= self.of_each or _is_loopback(address))

    def remove(self, address: str) -> None:
        key = network(address)
        self.open -= 1
        self.by_network[key] -= 1
        if not self.by_network[key]:
            del self.by_network[key]

    def protocol(self) -> type[asyncio.Protocol]:
        """uvicorn's own, which counts here: its `http` setting."""
        connections = self

        class Counted(_Counted):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                self.limits = connections

        return Counted


class _Counted(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # h11's or httptools', whichever there is
    limits: Connections
    _address = ""
    _counted = False
    _deadline: asyncio.TimerHandle | None = None
    _silent = True

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._address, self._counted = self.client[0] if self.client else "", True
        if not self.limits.add(self._address):
            self.limits.refused("connections")
            self.app = _too_many
            if self.limits.open > REFUSED_MORE * self.limits.most:
                transport.abort()
                return
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        before, self._silent = self.cycle, False
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()
        elif self._deadline is None and (before is None or before.response_complete):
            self._await_headers()  # of the next request on this connection, of which a part has come

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_waiting()
        if self._counted:
            self._counted = False
            self.limits.remove(self._address)
        super().connection_lost(error)

    def _await_headers(self) -> None:
        self._deadline = self.loop.call_later(self.limits.timeout, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        self.limits.refused("idle_connections" if self._silent else "headers_time")  # browsers open some to spare
        self.transport.abort()


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:
    detail = "Too many connections are open on this relay, or from this address. Close some, and try again."
    await problem_response(503, detail, {"Retry-After": "5", "Connection": "close"}, kind="too-many-connections")(
        scope, receive, send
    )


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:  # a Unix socket has none
        return True
