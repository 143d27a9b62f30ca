"""A call, and beside it in the same relay everything that attackers send: what the call loses, and what the relay
keeps."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random

import httpx
import numpy as np

from benchmarks.hostile import bitstreams, packets, sdp
from benchmarks.hostile.attacker import PACE, Attacker, Stranger
from benchmarks.hostile.chance import spread
from benchmarks.hostile.relay import Held, RelayProcess
from benchmarks.shared.light import LightProcess, latencies
from benchmarks.shared.replay import portrait

WATCHED = "view=original&layout=native"
CLIP = "ann"


@dataclass
class Besieged:
    """frames, lost: of the call beside, calm and under siege. held: each second, from before the siege until after it;
    begin, end: when the siege was. calm, after: what was held before the first attacker came, and once they left."""

    frames: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    late_ms: dict[str, float] = field(default_factory=dict)  # the 95th percentile of frames' ways
    cases: Counter[str] = field(default_factory=Counter)
    held: list[Held] = field(default_factory=list)
    begin: float = 0.0
    end: float = 0.0
    alive: bool = True

    @property
    def errors(self) -> list[str]:
        return [error for held in self.held for error in held.errors]

    def growth(self, what: str) -> float:
        """From the middle third of the siege to its last, in the units of `Held`."""
        values = [getattr(one, what) for one in self.held if self.begin <= one.time <= self.end]
        third = max(1, len(values) // 3)
        return float(np.median(values[-third:]) - np.median(values[third : 2 * third]))


def besieged(
    calm: float, attack: float, seed: str, rate: float = 1.0, say: Callable[[str], None] = lambda line: None
) -> Besieged:
    """calm, attack: seconds. rate: of packets, 1: about 500 in a second."""
    got = Besieged()
    clip = portrait(320, 300_000)
    with ExitStack() as stack:
        relay = stack.enter_context(RelayProcess())
        light = stack.enter_context(LightProcess({CLIP: clip}))
        light.call("publish", "publisher", relay.url, "/whip/call/ann", CLIP)
        light.call("watch", "watcher", relay.url, f"/whep/call/ann?{WATCHED}")
        time.sleep(4)
        windows = {"calm": (time.monotonic(), time.monotonic() + calm)}
        while time.monotonic() < windows["calm"][1]:
            got.held.append(relay.held())
            time.sleep(1)
        got.begin = time.monotonic()
        asyncio.run(_attack(relay, got, attack, seed, rate, say))
        got.end = time.monotonic()
        windows["siege"] = got.begin, got.end
        for _ in range(8):  # sessions end in the background
            time.sleep(1)
            got.held.append(relay.held())
        got.alive = relay.alive
        sent, watched = light.call("sent", "publisher"), light.call("watched", "watcher")
        for name, (begin, end) in windows.items():
            ways = latencies(clip, sent, watched, begin, end)
            got.frames[name], got.lost[name] = len(ways), ways.count(None)
            came = [way for way in ways if way is not None]
            got.late_ms[name] = 1000 * float(np.percentile(came, 95)) if came else float("inf")
    return got


async def _attack(
    relay: RelayProcess, got: Besieged, seconds: float, seed: str, rate: float, say: Callable[[str], None]
) -> None:
    """Rounds of some seconds until the time is over, each with attackers of its own."""
    end = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=relay.url, timeout=30) as http:
        turn = 0
        while time.monotonic() < end:
            await _round(http, relay, got, f"{seed}/{turn}", min(8.0, end - time.monotonic()), rate)
            turn += 1
            got.held.append(await asyncio.to_thread(relay.held))
            one = got.held[-1]
            say(
                f"{sum(got.cases.values()):7d} cases  {one.memory:6.0f} MiB  {one.threads} threads  {one.files} files  "
                f"{one.tasks} tasks  longest stall {1000 * one.stall:.0f} ms  {len(got.errors)} errors"
            )


async def _round(
    http: httpx.AsyncClient, relay: RelayProcess, got: Besieged, seed: str, seconds: float, rate: float
) -> None:
    end = time.monotonic() + max(1.0, seconds)
    publisher, of_call, of_attacker = Attacker(http), Attacker(http), Attacker(http)
    stranger = Stranger()
    try:
        await publisher.enter("/whip/siege/mallory", "sendonly")
        await of_call.enter(f"/whep/call/ann?{WATCHED}", "recvonly")
        await of_attacker.enter("/whep/siege/mallory?view=enhanced&width=640", "recvonly")
        ports = [(host, port) for host, port in relay.held().ports if ":" not in host]
        await asyncio.gather(
            _publish(publisher, spread(f"{seed}/rtp", 0), end, got.cases, rate),
            _show(publisher, spread(f"{seed}/frames", 0), end, got.cases),
            _report(of_call, spread(f"{seed}/rtcp", 0), end, got.cases, rate),
            _report(of_attacker, spread(f"{seed}/rtcp", 1), end, got.cases, rate),
            _knock(stranger, ports, spread(f"{seed}/udp", 0), end, got.cases, rate),
            _join(http, spread(f"{seed}/join", 0), end, got.cases),
            _ask(relay, got, end),
        )
    finally:
        stranger.close()
        await asyncio.gather(*(one.leave() for one in (publisher, of_call, of_attacker)), return_exceptions=True)


async def _publish(one: Attacker, rng: Random, end: float, cases: Counter[str], rate: float) -> None:
    """RTP and RTCP to the relay's receivers."""
    while time.monotonic() < end:
        if rng.random() < 0.02:
            sent = packets.storm(rng, one.target)
        else:
            make = packets.rtp if rng.random() < 0.7 else packets.rtcp
            sent = [make(rng, one.target)]
        for packet in sent:
            cases["RTCP" if 192 <= packet[1] < 224 else "RTP"] += one.send([packet])
            await asyncio.sleep(3 * PACE / rate)


async def _show(one: Attacker, rng: Random, end: float, cases: Counter[str]) -> None:
    """Damaged frames, and whole ones whose size changes."""
    timestamp = 0
    while time.monotonic() < end:
        codec = rng.choice(("VP8", "H264"))
        size = rng.choice(bitstreams.SIZES)
        frames = bitstreams.stream(codec, *size) if rng.random() < 0.3 else bitstreams.frames(rng, codec)
        cases["bitstreams"] += len(frames)
        await one.show(codec, frames, timestamp := timestamp + 90000 & 0xFFFFFFFF)


async def _report(one: Attacker, rng: Random, end: float, cases: Counter[str], rate: float) -> None:
    """RTCP to the relay's senders."""
    while time.monotonic() < end:
        sent = packets.storm(rng, one.target) if rng.random() < 0.01 else [packets.rtcp(rng, one.target)]
        for packet in sent:
            cases["RTCP" if 192 <= packet[1] < 224 else "RTP"] += one.send([packet])
            await asyncio.sleep(4 * PACE / rate)


async def _knock(
    stranger: Stranger, ports: list[tuple[str, int]], rng: Random, end: float, cases: Counter[str], rate: float
) -> None:
    """At the ports of everybody, those of the call too."""
    while time.monotonic() < end and ports:
        cases["datagrams"] += stranger.send(packets.datagram(rng), rng.choice(ports))
        await asyncio.sleep(4 * PACE / rate)


async def _join(http: httpx.AsyncClient, rng: Random, end: float, cases: Counter[str]) -> None:
    """Offers that lie, of peers that never come."""
    while time.monotonic() < end:
        path = rng.choice(("/whip/siege/trudy", "/whep/call/ann"))
        body = sdp.offer(rng).encode(errors="replace")
        answer = await http.post(path, content=body, headers={"Content-Type": "application/sdp"})
        assert answer.status_code in (201, 400, 404, 409, 413, 429, 503), answer.text
        cases["offers by HTTP"] += 1
        if answer.status_code == 201 and rng.random() < 0.7:
            fragment = sdp.fragment(rng).encode(errors="replace")
            headers = {"Content-Type": "application/trickle-ice-sdpfrag"}
            where = answer.headers["location"]
            trickled = await http.patch(where, content=fragment, headers=headers)
            assert trickled.status_code in (204, 400, 404, 413, 422, 429), trickled.text
            cases["fragments by HTTP"] += 1
            await http.delete(where)
        await asyncio.sleep(0.1)


async def _ask(relay: RelayProcess, got: Besieged, end: float) -> None:
    while time.monotonic() < end:
        got.held.append(await asyncio.to_thread(relay.held))
        await asyncio.sleep(1)
