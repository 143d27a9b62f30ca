"""Which layer a watcher gets as its path changes, and what the reduced one is."""

from __future__ import annotations

import numpy as np
import pytest

from hime_core.video.picture import Picture
from server.media.send.bitrate import Bitrates
from server.media.send.layers import CALM, FIRST_CALM, LayerChoice, reduced
from tests.unit.simulated_path import Clock

LIMITS = Bitrates(300_000, 2_000_000, 4_000_000)
GOOD = 4_000_000


def until_up(choice: LayerChoice, clock: Clock, rate: float = GOOD) -> float:
    """Seconds until the full layer is chosen."""
    since = clock.now
    while not choice.update(rate, GOOD):
        clock.run(0.1)
        assert clock.now - since < 200
    return clock.now - since


@pytest.mark.parametrize(
    ("rate", "best", "layer"),
    [
        (4e6, 4e6, "full"),
        (2.1e6, 4e6, "full"),
        (1.9e6, 4e6, "reduced"),  # would lower the picture of the others
        (350e3, 350e3, "full"),  # nobody has a better path
        (250e3, 250e3, "reduced"),  # too little for the full one
    ],
)
def test_the_first_layer(rate: float, best: float, layer: str) -> None:
    choice = LayerChoice(LIMITS, Clock())
    choice.begin(rate, best)
    assert choice.layer == layer


def test_down_at_once_and_up_after_a_calm_time() -> None:
    clock = Clock()
    choice = LayerChoice(LIMITS, clock)
    choice.begin(GOOD, GOOD)
    clock.run(60)
    assert choice.update(1e6, GOOD) and choice.layer == "reduced"
    assert until_up(choice, clock) == pytest.approx(CALM[0], abs=0.2)


def test_a_path_between_the_thresholds_changes_nothing() -> None:
    clock = Clock()
    full, low = LayerChoice(LIMITS, clock), LayerChoice(LIMITS, clock)
    low.begin(300_000, GOOD)
    for number in range(1000):
        rate = 2.2e6 + 0.6e6 * (number % 2)
        assert not full.update(rate, GOOD) and not low.update(rate, GOOD)
        clock.run(0.1)


def test_one_good_moment_is_not_enough() -> None:
    clock = Clock()
    choice = LayerChoice(LIMITS, clock)
    choice.begin(GOOD, GOOD)
    choice.update(1e6, GOOD)
    for number in range(100):
        assert not choice.update(1e6 if number % 30 == 0 else GOOD, GOOD)
        clock.run(0.1)


def test_who_falls_again_soon_waits_longer_each_time_up_to_a_limit() -> None:
    clock = Clock()
    choice = LayerChoice(LIMITS, clock)
    choice.begin(GOOD, GOOD)
    clock.run(60)
    waits = []
    for _ in range(8):
        choice.update(1e6, GOOD)
        waits.append(round(until_up(choice, clock)))
        clock.run(2)
    assert waits == [4, 8, 16, 32, 64, 64, 64, 64]


def test_a_newcomer_whose_path_is_found_to_be_good_does_not_wait_long() -> None:
    clock = Clock()
    choice = LayerChoice(LIMITS, clock)
    choice.begin(600_000, GOOD)
    assert choice.layer == "reduced"
    assert until_up(choice, clock) == pytest.approx(FIRST_CALM, abs=0.2)


def test_the_reduced_picture_is_half_as_wide_and_the_same_picture() -> None:
    ramp = np.tile(np.arange(640, dtype=np.uint8) // 4 + 40, (362, 1))
    chroma = np.full((181, 320), 90, np.uint8)
    small = reduced(Picture(ramp, chroma, chroma))
    assert (small.width, small.height, small.u.shape) == (320, 180, (90, 160))
    assert np.abs(small.y.astype(int) - ramp[::2, ::2][:180].astype(int)).max() <= 1
    assert (small.v == 90).all()
    little = Picture(ramp[:90, :160], chroma[:45, :80], chroma[:45, :80])
    assert reduced(little) is little
