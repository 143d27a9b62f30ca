"""What the dearest requests cost that the limits still allow: time on the event loop.

Each line is the best of several rounds. Pairing grows with the square of candidates times sockets, which is why both
are limited; the second figure is what it would be without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from aiortc import RTCIceCandidate
from fastapi import FastAPI

from benchmarks.shared.peers import Relay
from server import problems
from server.access.access import load_access
from server.limits.rates import MOST_KEYS, RateLimit
from server.media.aiortc_door import PeerTransport
from server.media.ice_connection import MAX_LEARNED, MAX_SOCKETS, Network
from server.media.negotiation import Offer, SdpLimits
from server.media.receive.gate import FrameGate, FrameRules
from server.rooms.routes import router
from server.settings import Settings

ROUNDS = 5
SECTION = (
    "m={kind} 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:{pwd}\r\n"
    "a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=mid:{mid}\r\na=sendonly\r\na=rtpmap:96 {codec}\r\n"
)


def section(kind: str, mid: int, codec: str) -> str:
    return SECTION.format(kind=kind, pwd="p" * 22, fingerprint=":".join(["AB"] * 32), mid=mid, codec=codec)


def offer(settings: Settings) -> str:
    """As long, and in as many sections and lines, as is read."""
    data = [section("application", mid, "x/90000") for mid in range(1, settings.max_sdp_sections)]
    text = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" + section("audio", 0, "opus/48000/2") + "".join(data)
    lines = settings.max_sdp_lines - text.count("\n")
    length = (settings.max_sdp_bytes - len(text)) // lines - 2
    return text + ("a=rtpmap:96 " + "x" * (length - 20) + "/90000\r\n") * lines


async def best(work: Callable[[], Awaitable[float]]) -> float:
    """Milliseconds."""
    return 1000 * min([await work() for _ in range(ROUNDS)])


async def pairing(candidates: int, sockets: int) -> float:
    """Seconds in which nothing else runs: candidates of an offer, paired as they come and again to connect."""
    transport = PeerTransport(Network(), lambda data: None, lambda data: None, lambda: None)
    connection = transport._ice.connection
    await connection.get_component_candidates(1, [f"127.0.1.{n + 1}" for n in range(sockets)])
    named = [
        RTCIceCandidate(1, "1", f"192.0.2.{1 + n % 250}", 5000 + n, 2113937151 - n, "udp", "host")
        for n in range(candidates)
    ]
    began = time.perf_counter()
    for one in named:
        await transport.add_candidate(one)
    for remote in connection._remote_candidates:
        connection._pair_remote_candidate(remote)
    connection.sort_check_list()
    took = time.perf_counter() - began
    assert len(connection._check_list) == candidates * sockets
    await transport.close()
    return took


async def parsing(settings: Settings) -> float:
    text, limits = offer(settings), SdpLimits(settings.max_sdp_lines, settings.max_sdp_sections)
    began = time.perf_counter()
    Offer.parse(text, limits)
    return time.perf_counter() - began


async def gating(codec: str) -> float:
    gate = FrameGate(FrameRules())
    data = (b"\x00\x00\x01\x41" if codec == "H264" else b"\x11\x00\x00") + bytes(range(1, 256)) * 400
    began = time.perf_counter()
    gate.refuses(codec, data)
    return time.perf_counter() - began


async def counting() -> float:
    limit = RateLimit(10)
    for number in range(2 * MOST_KEYS):
        limit.take(str(number))
    began = time.perf_counter()
    for number in range(1000):
        limit.take(f"new {number}")
    return (time.perf_counter() - began) / 1000


async def answering(settings: dict[str, int], number: int) -> float:
    """Seconds for each of that many offers which come at once to a relay that is full."""
    from types import SimpleNamespace

    relay, app = Relay(lambda: None, sessions_per_minute=1_000_000, **settings), FastAPI()  # type: ignore[arg-type]
    app.state.relay = SimpleNamespace(
        settings=relay.settings, access=load_access(relay.settings), metrics=relay.metrics, rooms=relay.rooms
    )
    problems.install(app)
    app.include_router(router)
    text = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" + section("audio", 0, "opus/48000/2")
    headers = {"Content-Type": "application/sdp"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as http:
        posts = [http.post(f"/whip/r/p{n}", content=text, headers=headers) for n in range(number)]
        began = time.perf_counter()
        statuses = [answer.status_code for answer in await asyncio.gather(*posts)]
        took = time.perf_counter() - began
        assert set(statuses) <= {201, 503}, set(statuses)
    await relay.rooms.close()
    return took / number


async def measure() -> dict[str, float]:
    settings = Settings(_env_file=None)
    most = settings.max_candidates + MAX_LEARNED
    return {
        f"pairing {settings.max_candidates} candidates, 2 sockets, ms": await best(
            lambda: pairing(settings.max_candidates, 2)
        ),
        f"pairing {most} candidates, {MAX_SOCKETS} sockets (worst allowed), ms": await best(
            lambda: pairing(most, MAX_SOCKETS)
        ),
        f"pairing 500 candidates, {MAX_SOCKETS} sockets (without the limit), ms": 1000
        * await pairing(500, MAX_SOCKETS),
        "reading the largest offer, ms": await best(lambda: parsing(settings)),
        "looking for a size in 100 kB of H264, ms": await best(lambda: gating("H264")),
        "looking for a size in 100 kB of VP8, ms": await best(lambda: gating("VP8")),
        "counting a new address in a full table, ms": await best(counting),
        "an offer that is answered, ms": await best(lambda: answering({}, 20)),
        "an offer for which there is no place, ms": await best(lambda: answering({"max_participants": 1}, 200)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = asyncio.run(measure())
    for what, milliseconds in figures.items():
        print(f"{milliseconds:10.3f}  {what}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
