"""A UDP proxy on one leg of a call that loses, delays, reorders, throttles and holds packets, from a seed."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

REORDERED = 3  # packets that one may be overtaken by at most

Address = tuple[str, int]


@dataclass(frozen=True)
class Path:
    """One direction of a network. Like `tc netem`, with packets of equal chance to be lost.

    loss: share of packets, 0..1. delay, jitter: seconds; each packet takes delay ± up to jitter. rate: bit/s, None for
    no limit; what waits for its turn is at most `queue` seconds of that rate, and what does not fit is lost.
    """

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    rate: float | None = None
    queue: float = 0.2


class _Direction(asyncio.DatagramProtocol):
    """Takes packets on one socket, and hands them on after what the path does to them."""

    def __init__(self, seed: int, forward: Callable[[bytes, Address], None]) -> None:
        self.path = Path()
        self.counts: Counter[str] = Counter()  # passed, bytes, lost, queue (lost for want of room), held
        self.refused: frozenset[int] = frozenset()  # payload types of RTP that get lost, all of them
        self._forward = forward
        self._random = random.Random(seed)
        self._free_at = 0.0
        self._leaving: deque[float] = deque([0.0] * REORDERED, maxlen=REORDERED)
        self._hold: tuple[float, frozenset[int] | None] | None = None

    def hold_next(self, seconds: float, payload_types: Collection[int]) -> None:
        self._hold = seconds, frozenset(payload_types)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        loop = asyncio.get_running_loop()
        now, path, kind = loop.time(), self.path, payload_type(data)
        if kind in self.refused or self._random.random() < path.loss:
            self.counts["lost"] += 1
            return
        leaves = now
        if path.rate is not None:
            begins = max(now, self._free_at)
            if begins - now > path.queue:
                self.counts["queue"] += 1
                return
            leaves = self._free_at = begins + 8 * len(data) / path.rate
        if path.delay or path.jitter:
            leaves += path.delay + self._random.uniform(-path.jitter, path.jitter)
            leaves = max(leaves, now, self._leaving[0])
            self._leaving.append(leaves)
        if self._hold is not None and kind in self._hold[1]:
            leaves, self._hold = max(leaves, now + self._hold[0]), None
            self.counts["held"] += 1
        self.counts["passed"] += 1
        self.counts["bytes"] += len(data)
        if leaves <= now:
            self._forward(data, addr)
        else:
            loop.call_at(leaves, self._forward, data, addr)

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def error_received(self, exc: OSError) -> None:
        """A peer that has gone; the call is over."""


class Forwarder:
    """Between a client and a server that it was told of by `answer()`. `up` is the direction to the server."""

    def __init__(self, seed: int = 0) -> None:
        self._server: Address | None = None
        self._client: Address | None = None
        self.up = _Direction(seed, self._to_server)
        self.down = _Direction(seed + 1, self._to_client)

    def impair(self, path: Path, back: Path | None = None) -> None:
        """Both directions from now on; `back` from the server, the same when not given."""
        self.up.path, self.down.path = path, back or path

    def offer(self, sdp: str) -> str:
        """The client's offer without its candidates, more of which might come: the server learns of the forwarder's."""
        return without_candidates(sdp).replace("a=end-of-candidates\r\n", "")

    def answer(self, sdp: str) -> str:
        """The server's answer with the forwarder in place of the server's candidates."""
        found = re.search(r"^a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host.*\r\n", sdp, re.M | re.I)
        assert found, "the answer has no IPv4 host candidate"
        self._server = found[1], int(found[2])
        host, port = self.up.transport.get_extra_info("sockname")[:2]
        head, tail = map(without_candidates, sdp.split(found[0], 1))
        return f"{head}a=candidate:1 1 udp 2130706431 {host} {port} typ host\r\n{tail}"

    def _to_server(self, data: bytes, addr: Address) -> None:
        self._client = addr
        if self._server is not None and not self.down.transport.is_closing():
            self.down.transport.sendto(data, self._server)

    def _to_client(self, data: bytes, addr: Address) -> None:
        if self._client is not None and not self.up.transport.is_closing():
            self.up.transport.sendto(data, self._client)


@asynccontextmanager
async def forwarding(seed: int = 0, host: str = "127.0.0.1") -> AsyncIterator[Forwarder]:
    forwarder, loop = Forwarder(seed), asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: forwarder.up, local_addr=(host, 0))
    await loop.create_datagram_endpoint(lambda: forwarder.down, local_addr=(host, 0))
    try:
        yield forwarder
    finally:
        forwarder.up.transport.close()
        forwarder.down.transport.close()


def payload_type(data: bytes) -> int | None:
    """Of an RTP packet, encrypted or not (RFC 3550, 5761); None for RTCP, DTLS and STUN."""
    if len(data) < 12 or not 128 <= data[0] <= 191 or 192 <= data[1] <= 223:
        return None
    return data[1] & 0x7F


def payload_types(sdp: str, codec: str) -> frozenset[int]:
    """The payload types that an SDP gives a codec, such as "VP8" or "rtx"."""
    return frozenset(int(number) for number in re.findall(rf"^a=rtpmap:(\d+) {codec}/", sdp, re.M | re.I))


def without_candidates(sdp: str) -> str:
    return re.sub(r"^a=candidate:.*\r\n", "", sdp, flags=re.M)
