from __future__ import annotations

from server.media.bitrate import Bitrates, TargetBitrate
from server.media.rates import RateMeter, Smoothed


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def sending(target: TargetBitrate, clock: Clock, rate: int, seconds: float = 5) -> None:
    """Sends at a rate (bit/s), in frames at 20 per second."""
    for _ in range(round(20 * seconds)):
        clock.now += 0.05
        target.sent(rate // 20 // 8)


def test_a_calm_picture_does_not_lower_the_target() -> None:
    clock = Clock()
    target = TargetBitrate(Bitrates(300_000, 2_000_000, 4_000_000), clock)
    sending(target, clock, 500_000)
    target.estimated(750_000)  # 1.5 times what was sent: all that a receiver ever estimates
    assert target.value == 2_000_000


def test_a_narrow_path_does_down_to_the_minimum() -> None:
    clock = Clock()
    target = TargetBitrate(Bitrates(300_000, 2_000_000, 4_000_000), clock)
    sending(target, clock, 2_000_000)
    target.estimated(900_000)
    assert target.value == 900_000
    target.estimated(500_000)  # at once: the encoder is not rebuilt again
    assert target.value == 900_000
    sending(target, clock, 900_000)
    target.estimated(100_000)
    assert target.value == 300_000


def test_a_wide_path_raises_it_in_few_steps_up_to_the_maximum() -> None:
    clock = Clock()
    target = TargetBitrate(Bitrates(300_000, 2_000_000, 4_000_000), clock)
    steps = set()
    for estimate in range(2_000_000, 6_000_000, 50_000):
        sending(target, clock, target.value, seconds=0.5)
        target.estimated(estimate)
        steps.add(target.value)
    assert target.value == 4_000_000
    assert len(steps) <= 5


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
