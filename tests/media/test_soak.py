"""A minute of a call through a relay of its own process: memory and the frames' age stay flat, and guests who come and
go leave nothing behind.

`python -m benchmarks.calls.soak` does it for half an hour, with the network.
"""

from __future__ import annotations

import asyncio
from statistics import median

import pytest

from benchmarks.calls.soak import FPS, soak


@pytest.mark.timeout(400)
async def test_a_minute_of_a_call_leaves_nothing_behind() -> None:
    got = await asyncio.to_thread(soak, 1, True, "view=enhanced&layout=upscale", True)
    memory, ages = got["memory_mib"], got["age_ms"]
    # One frame of 1280x720 kept each second would be 80 MiB a minute; the first guests take what later ones take again.
    assert median(memory[-15:]) - median(memory[20:35]) < 40, memory
    third = len(ages) // 3
    assert median(ages[-third:]) < 2 * median(ages[:third]) + 200, ages
    assert sum(got["outcomes"].values()) > 20 * FPS
    assert got["outcomes"]["enhanced"] + got["outcomes"]["carried"] > 0, got["outcomes"]
    assert got["guests"]["joins"] >= 3 and got["guests"]["frames"] > 0, got["guests"]
    # The stand-in for the detector finds no face of use in their photos, which the relay says each time.
    assert not [what for what in got["guests"] if "failed" in what], got["guests"]
    # The one who stays and its watcher are still there, or just leaving.
    assert got["objects"]["Session"] <= 2 and got["objects"]["VideoPipeline"] <= 1, got["objects"]
