"""What the arrival of packets tells of a path to a watcher, on simulated paths."""

from __future__ import annotations

import pytest

from server.media.send.path_measure import START
from tests.unit.simulated_path import Path, Watcher


def rates(watcher: Watcher, seconds: float) -> list[int]:
    """The estimate, ten times a second from now on."""
    found = []
    for _ in range(round(10 * seconds)):
        watcher.run(0.1)
        found.append(watcher.estimate.rate)
    return found


def test_a_wide_path_is_found_within_two_seconds() -> None:
    watcher = Watcher(Path(20_000_000))
    assert watcher.estimate.rate == START
    watcher.run(2)
    assert watcher.estimate.rate >= 3_800_000
    padding = watcher.padding
    watcher.run(20)
    assert watcher.padding == padding  # nothing more is to be found
    assert watcher.lost == 0


@pytest.mark.parametrize("rate", [150_000, 300_000, 1_000_000, 2_500_000])
@pytest.mark.parametrize("jitter", [0.0, 0.008])
def test_a_narrow_path_is_used_and_not_overfilled(rate: int, jitter: float) -> None:
    watcher = Watcher(Path(rate, jitter=jitter))
    watcher.run(6)
    lost, delays = watcher.lost, len(watcher.delays)
    found = rates(watcher, 60)
    assert 0.6 * rate < sorted(found)[len(found) // 2] < 1.05 * rate
    assert watcher.lost - lost < 0.01 * (len(watcher.delays) - delays)
    late = sum(delay > 0.17 for delay in watcher.delays[delays:])
    assert late < (0.05 if rate >= 300_000 else 0.2) * (len(watcher.delays) - delays)


def test_a_path_that_becomes_narrow_is_noticed_and_one_that_becomes_wide() -> None:
    watcher = Watcher(Path(4_000_000))
    watcher.run(5)
    watcher.path.rate = 300_000
    watcher.run(4)
    assert watcher.estimate.rate < 330_000
    watcher.run(10)
    watcher.path.rate = 8_000_000
    watcher.run(25)
    assert watcher.estimate.rate > 3_500_000


def test_loss_and_jitter_alone_are_no_narrow_path() -> None:
    watcher = Watcher(Path(20_000_000, delay=0.05, jitter=0.01, loss=0.05))
    watcher.run(5)
    assert min(rates(watcher, 30)) > 3_000_000


def test_a_watcher_that_is_busy_now_and_then_keeps_its_picture() -> None:
    watcher = Watcher(Path(20_000_000, stall=0.2))
    watcher.run(5)
    assert min(rates(watcher, 60)) > 2_500_000


def test_a_calm_picture_leaves_the_estimate_and_probes_raise_it() -> None:
    watcher = Watcher(Path(8_000_000), content=200_000)
    watcher.run(3)
    assert watcher.estimate.rate > 3_500_000
    assert min(rates(watcher, 30)) > 3_500_000


@pytest.mark.parametrize("rate", [1_000_000, 3_700_000])
def test_probes_of_a_path_that_carries_no_more_become_rare(rate: int) -> None:
    watcher = Watcher(Path(rate), content=400_000)
    watcher.run(60)
    padding = watcher.padding
    watcher.run(120)
    assert 8 * 295 * (watcher.padding - padding) / 120 < 0.02 * rate  # bit/s
