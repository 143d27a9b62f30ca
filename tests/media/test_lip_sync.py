"""Sound and picture of one moment, through the relay: as they come, and as its sender reports have them played.

`python -m benchmarks.calls.lip_sync` prints the figures. The bounds are the requirement's.
"""

from __future__ import annotations

from statistics import median

import pytest

from benchmarks.calls.lip_sync import CASES, Case, measure
from benchmarks.shared.lip_sync import SOUND_LAGS, SOUND_LEADS, within


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_lips_are_in_sync(case: Case) -> None:
    for got in await measure(case, moments=5):
        assert len(got.reports) >= 3, got
        assert all(map(within, got.reports)), got
        assert within(median(got.arrival)), got  # single packets may meet a busy machine
        # Not merely the same for both: the publisher's own clock, however far it is from the relay's.
        assert all(-SOUND_LAGS <= off <= SOUND_LEADS for off in got.clock), got
