"""Attackers inside and outside, beside a call in the same relay: it goes on, and the relay keeps nothing of them."""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import av
import pytest

from benchmarks.hostile import bitstreams
from benchmarks.hostile.attacker import Attacker
from benchmarks.hostile.cases import SMALL
from benchmarks.hostile.siege import besieged
from benchmarks.shared.peers import serving, until

CALM, SIEGE = 8.0, 24.0  # seconds
# Share of the call's frames that may be lost more than before, by how many processes want each core: the relay decodes
# what the attackers show, and shares the machine with them, the call's peers and whatever else runs.
LOST = 0.05
MEMORY = 100.0  # MiB that a relay holds on to for what may come next
BLOCKS = 15_000  # of Python's memory: the dashboard's history takes some 60 in a second, a case would take one at least


@pytest.mark.timeout(400)
async def test_a_call_beside_attackers_goes_on(cases: Counter[str]) -> None:
    got = await asyncio.to_thread(besieged, CALM, SIEGE, "tests", SMALL)
    cases.update(got.cases)
    assert got.alive and not got.errors, got.errors[:3]
    assert min(got.cases.values(), default=0) > 0 and sum(got.cases.values()) > 500, got.cases
    share = {name: got.lost[name] / got.frames[name] for name in got.frames}
    crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert share["siege"] <= share["calm"] + LOST * crowd, (got.lost, got.frames, crowd)
    assert got.left("blocks") < BLOCKS and got.left("memory") < MEMORY
    for what in ("threads", "files", "tasks"):
        assert got.left(what) <= 4, (what, got.before, got.after)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_publisher_may_change_its_size_amid_a_call(codec: bitstreams.Codec, cases: Counter[str]) -> None:
    sizes = [size for size in bitstreams.SIZES if codec == "VP8" or not (size[0] % 2 or size[1] % 2)]
    async with serving() as relay:
        attacker = Attacker(relay.http)
        try:
            await attacker.enter("/whip/r/ann", "sendonly")
            number = 0
            for size in (*sizes, sizes[0]):
                taken = list(relay.enhancers[0].sizes)
                frames = bitstreams.stream(codec, *size)
                cases["sizes amid a call"] += 1
                for _ in range(50):  # again, until one was not thrown away for a newer one
                    number += 1
                    await attacker.show(codec, frames, 90000 * number & 0xFFFFFFFF)
                    if (size[0] & ~1, size[1] & ~1) in relay.enhancers[0].sizes[len(taken) :]:
                        break
                assert (size[0] & ~1, size[1] & ~1) in relay.enhancers[0].sizes[len(taken) :], size
        finally:
            await attacker.leave()
        await until(lambda: relay.enhancers[0].closed)


def test_the_frames_are_of_the_sizes_that_they_should_be() -> None:
    for size in bitstreams.SIZES:
        decoder = av.CodecContext.create("vp8", "r")
        frames = [one for data in bitstreams.stream("VP8", *size) for one in decoder.decode(av.Packet(data))]
        assert frames and {(one.width, one.height) for one in frames} == {size}
