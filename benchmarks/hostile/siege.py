"""A call, and beside it in the same relay everything that attackers send: what the call loses, and what the relay
keeps."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
import numpy as np

from benchmarks.hostile import bitstreams, packets, sdp
from benchmarks.hostile.attacker import PACE, Attacker, Refused, Stranger
from benchmarks.hostile.chance import spread
from benchmarks.hostile.relay import START, Held, RelayProcess
from benchmarks.shared.light import LightProcess, latencies
from benchmarks.shared.replay import portrait

WATCHED = "view=original&layout=native"
CLIP = "ann"
LEAVING = 40.0  # seconds in which the last session of an attacker ends: who never came is waited for
ROUND = 8.0  # seconds until other attackers take their turn

Sizes = Sequence[tuple[int, int]]


@dataclass
class Besieged:
    """frames, lost: of the call beside, calm and under siege; late_ms: the 95th percentile of their ways. held: each
    second of the siege, which was from begin to end; before, after: before the first attacker came, and once the last
    had left."""

    frames: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    late_ms: dict[str, float] = field(default_factory=dict)
    cases: Counter[str] = field(default_factory=Counter)
    held: list[Held] = field(default_factory=list)
    begin: float = 0.0
    end: float = 0.0
    before: Held | None = None
    after: Held | None = None
    alive: bool = True

    @property
    def errors(self) -> list[str]:
        every = [self.before, *self.held, self.after]
        return [error for held in every if held is not None for error in held.errors]

    def left(self, what: str) -> float:
        """How much more is held after the siege than before it, in the units of `Held`."""
        assert self.before is not None and self.after is not None
        return float(getattr(self.after, what) - getattr(self.before, what))

    def growth(self, what: str) -> float:
        """From the middle third of the siege to its last, in the units of `Held`."""
        values = [getattr(one, what) for one in self.held]
        third = max(1, len(values) // 3)
        return float(np.median(values[-third:]) - np.median(values[third : 2 * third]))


def besieged(
    calm: float,
    attack: float,
    seed: str,
    sizes: Sizes = bitstreams.SIZES,
    say: Callable[[str], None] = lambda line: None,
) -> Besieged:
    """calm, attack: seconds. sizes: of what the attackers show."""
    got = Besieged()
    clip = portrait(320, 300_000)
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        relay = stack.enter_context(RelayProcess())
        light = stack.enter_context(LightProcess({CLIP: clip}))
        light.call("publish", "publisher", relay.url, "/whip/call/ann", CLIP)
        light.call("watch", "watcher", relay.url, f"/whep/call/ann?{WATCHED}")
        time.sleep(4)
        got.before = relay.held(collected=True)
        counts = context.Queue()
        attacking = context.Process(
            target=_attack, args=(relay.url, got.before.ports, attack, seed, sizes, counts), daemon=True
        )
        windows = {"calm": (time.monotonic(), time.monotonic() + calm)}
        time.sleep(calm)
        attacking.start()
        got.cases.update(counts.get(timeout=START))  # empty: it begins
        got.begin = time.monotonic()
        while attacking.is_alive():
            got.held.append(relay.held())
            time.sleep(1)
            while not counts.empty():
                got.cases.update(counts.get())
                say(_line(got))
        got.end = time.monotonic()
        windows["siege"] = got.begin, got.end
        if attacking.exitcode:
            raise RuntimeError("the attackers failed: see what they printed")
        until = time.monotonic() + LEAVING
        while relay.held().tasks > got.before.tasks and time.monotonic() < until:
            time.sleep(1)
        got.after, got.alive = relay.held(collected=True), relay.alive
        sent, watched = light.call("sent", "publisher"), light.call("watched", "watcher")
        for name, (begin, end) in windows.items():
            ways = latencies(clip, sent, watched, begin, end)
            got.frames[name], got.lost[name] = len(ways), ways.count(None)
            came = [way for way in ways if way is not None]
            got.late_ms[name] = 1000 * float(np.percentile(came, 95)) if came else float("inf")
    return got


def _line(got: Besieged) -> str:
    one = got.held[-1]
    return (
        f"{sum(got.cases.values()):7d} cases  {one.memory:6.0f} MiB  {one.threads} threads  {one.files} files  "
        f"{one.tasks} tasks  longest stall {1000 * one.stall:.0f} ms  {len(got.errors)} errors"
    )


def _attack(url: str, ports: list[tuple[str, int]], seconds: float, seed: str, sizes: Sizes, counts: Any) -> None:
    """In a process that takes only the processor time which the others leave: what is asked is what the relay makes of
    the attack, not how it shares a machine with the attackers. Rounds, each with attackers of its own."""
    os.nice(5)

    async def rounds() -> None:
        counts.put(Counter())
        end, turn = time.monotonic() + seconds, 0
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            while time.monotonic() < end:
                cases: Counter[str] = Counter()
                await _round(http, ports, cases, f"{seed}/{turn}", min(ROUND, end - time.monotonic()), sizes)
                counts.put(cases)
                turn += 1

    asyncio.run(rounds())


async def _round(
    http: httpx.AsyncClient,
    ports: list[tuple[str, int]],
    cases: Counter[str],
    seed: str,
    seconds: float,
    sizes: Sizes,
) -> None:
    """ports: of the call."""
    publisher, of_call, of_attacker = Attacker(http), Attacker(http), Attacker(http)
    stranger = Stranger()
    try:
        await publisher.enter("/whip/siege/mallory", "sendonly")
        await of_call.enter(f"/whep/call/ann?{WATCHED}", "recvonly")
        await of_attacker.enter("/whep/siege/mallory?view=enhanced&width=640", "recvonly")
        known = [place for place in [*ports, *publisher.ports, *of_call.ports] if ":" not in place[0]]
        end = time.monotonic() + max(1.0, seconds)
        await asyncio.gather(
            _publish(publisher, spread(f"{seed}/rtp", 0), end, cases),
            _show(publisher, spread(f"{seed}/frames", 0), end, cases, sizes),
            _report(of_call, spread(f"{seed}/rtcp", 0), end, cases),
            _report(of_attacker, spread(f"{seed}/rtcp", 1), end, cases),
            _knock(stranger, known, spread(f"{seed}/udp", 0), end, cases),
            _join(http, spread(f"{seed}/join", 0), end, cases),
        )
    except (TimeoutError, Refused):  # a machine so busy that the relay took an attacker to be lost: the next round
        return
    finally:
        stranger.close()
        await asyncio.gather(*(one.leave() for one in (publisher, of_call, of_attacker)), return_exceptions=True)


async def _publish(one: Attacker, rng: Random, end: float, cases: Counter[str]) -> None:
    """RTP and RTCP to the relay's receivers."""
    while time.monotonic() < end:
        if rng.random() < 0.02:
            sent = packets.storm(rng, one.target)
        else:
            make = packets.rtp if rng.random() < 0.7 else packets.rtcp
            sent = [make(rng, one.target)]
        for packet in sent:
            cases["RTCP" if 192 <= packet[1] < 224 else "RTP"] += one.send([packet])
            await asyncio.sleep(3 * PACE)


async def _show(one: Attacker, rng: Random, end: float, cases: Counter[str], sizes: Sizes) -> None:
    """Damaged frames, and whole ones whose size changes."""
    timestamp = 0
    while time.monotonic() < end:
        codec = rng.choice(("VP8", "H264"))
        size = rng.choice(sizes)
        frames = bitstreams.stream(codec, *size) if rng.random() < 0.3 else bitstreams.frames(rng, codec)
        cases["bitstreams"] += await one.show(codec, frames, timestamp := timestamp + 90000 & 0xFFFFFFFF)


async def _report(one: Attacker, rng: Random, end: float, cases: Counter[str]) -> None:
    """RTCP to the relay's senders."""
    while time.monotonic() < end:
        sent = packets.storm(rng, one.target) if rng.random() < 0.01 else [packets.rtcp(rng, one.target)]
        for packet in sent:
            cases["RTCP" if 192 <= packet[1] < 224 else "RTP"] += one.send([packet])
            await asyncio.sleep(4 * PACE)


async def _knock(
    stranger: Stranger, ports: list[tuple[str, int]], rng: Random, end: float, cases: Counter[str]
) -> None:
    """At the ports of everybody, those of the call too."""
    while time.monotonic() < end and ports:
        cases["datagrams"] += stranger.send(packets.datagram(rng), rng.choice(ports))
        await asyncio.sleep(4 * PACE)


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
            headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*"}
            where = answer.headers["location"]
            trickled = await http.patch(where, content=fragment, headers=headers)
            assert trickled.status_code in (204, 400, 404, 413, 422, 429), trickled.text
            cases["fragments by HTTP"] += 1
            await http.delete(where)
        await asyncio.sleep(0.1)
