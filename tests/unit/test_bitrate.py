from __future__ import annotations

import pytest

from server.media.rates import RateMeter, Smoothed
from server.media.send.bitrate import Bitrates, PathEstimate, SharedTarget

LIMITS = Bitrates(300_000, 2_000_000, 4_000_000)


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def sending(path: PathEstimate, clock: Clock, rate: int, seconds: float = 5) -> None:
    """Sends at a rate (bit/s), in frames at 20 per second."""
    for _ in range(round(20 * seconds)):
        clock.now += 0.05
        path.sent(rate // 20 // 8)


def test_a_calm_picture_does_not_lower_the_estimate() -> None:
    clock = Clock()
    path = PathEstimate(LIMITS, clock)
    sending(path, clock, 500_000)
    path.estimated(750_000)  # 1.5 times what was sent: all that a receiver ever estimates
    assert path.rate == 2_000_000


def test_a_narrow_path_does() -> None:
    clock = Clock()
    path = PathEstimate(LIMITS, clock)
    sending(path, clock, 2_000_000)
    path.estimated(900_000)
    assert path.rate == 900_000 and not path.too_narrow
    sending(path, clock, 900_000)
    path.estimated(70_000)  # not even the reduced layer
    assert path.too_narrow
    path.estimated(350_000)  # higher estimates count at once
    assert path.rate == 350_000 and not path.too_narrow


def test_heavy_loss_lowers_it_and_light_loss_brings_it_back() -> None:
    path = PathEstimate(LIMITS, Clock())
    path.lost(0.05)
    assert path.rate == 2_000_000
    path.lost(0.2)
    assert path.rate == pytest.approx(1_800_000)
    for _ in range(10):
        path.lost(0.05)
    assert path.rate == pytest.approx(1_800_000)
    for _ in range(30):
        path.lost(0.0)
    assert path.rate == 2_000_000  # not above what the receiver estimates


def test_a_path_that_is_full_falls_to_what_came_through() -> None:
    clock = Clock()
    path = PathEstimate(LIMITS, clock)
    sending(path, clock, 2_000_000)
    path.lost(0.85)
    assert path.rate == pytest.approx(300_000, rel=0.1)
    calm = PathEstimate(LIMITS, clock)
    sending(calm, clock, 200_000)
    calm.lost(0.85)  # of so little it proves less
    assert calm.rate == pytest.approx(2_000_000 * (1 - 0.5 * 0.85))


def test_where_arrivals_are_reported_they_alone_tell() -> None:
    clock = Clock()
    path = PathEstimate(LIMITS, clock)
    path.begin(600_000)
    sending(path, clock, 600_000)
    path.estimated(100_000)
    assert path.rate == 600_000
    path.measured(5_000_000)
    assert path.rate == 4_000_000


def paths(clock: Clock, *rates: int) -> list[PathEstimate]:
    made = []
    for rate in rates:
        path = PathEstimate(LIMITS, clock)
        sending(path, clock, 2_000_000, seconds=2)
        path.estimated(rate)
        made.append(path)
    return made


def test_the_lowest_watcher_above_the_minimum_sets_the_target() -> None:
    clock = Clock()
    target = SharedTarget(LIMITS, clock)
    target.update(paths(clock, 1_500_000, 800_000, 200_000))
    assert target.value == 800_000


def test_watchers_below_the_minimum_set_nothing_while_there_are_others() -> None:
    clock = Clock()
    target = SharedTarget(LIMITS, clock)
    target.update(paths(clock, 200_000, 250_000))
    assert target.value == 300_000
    clock.now += 2
    target.update(paths(clock, 200_000, 3_000_000))
    assert target.value == 3_000_000


def test_the_target_does_not_tremble() -> None:
    clock = Clock()
    target = SharedTarget(LIMITS, clock)
    changes = set()
    for number in range(200):
        clock.now += 0.1
        path = PathEstimate(Bitrates(300_000, 2_000_000 + 40_000 * (number % 3 - 1), 4_000_000), clock)
        target.update([path])
        changes.add(target.value)
    assert changes == {2_000_000}


def test_it_rises_step_by_step_and_falls_at_once() -> None:
    clock = Clock()
    target = SharedTarget(LIMITS, clock)
    (wide,) = paths(clock, 4_000_000)
    (narrow,) = paths(clock, 400_000)
    target.update([wide])
    assert target.value == 4_000_000
    target.update([narrow])
    assert target.value == 400_000
    target.update([wide])
    assert target.value == 400_000  # a second after the last change at the earliest
    clock.now += 1
    target.update([wide])
    assert target.value == 4_000_000


def test_a_rate_is_over_the_window_and_from_the_start() -> None:
    clock = Clock()
    meter = RateMeter(window=2.0, clock=clock)
    assert meter.rate() == 0
    for _ in range(16):
        clock.now += 1 / 16
        meter.add()
    assert meter.rate() == 16
    clock.now += 1.5
    assert meter.rate() == 4.5  # the frames of the last half second and the one two seconds ago
    clock.now += 5
    assert meter.rate() == 0


def test_smoothing_starts_with_the_first_value() -> None:
    mean = Smoothed(0.5)
    assert mean.value is None
    mean.add(4)
    mean.add(8)
    assert mean.value == 6
