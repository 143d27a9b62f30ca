"""Padding for watchers who report estimates of their own."""

from __future__ import annotations

import pytest

from server.media.send.filling import MOST_PAUSE, PAUSE, Filler
from server.media.send.packetize import PADDING
from tests.unit.simulated_path import Clock


def filled(filler: Filler, clock: Clock, rate: float, seconds: float, size: int = 500) -> float:
    """Bit/s of padding beside 20 frames a second of that size."""
    count = 0
    for _ in range(round(20 * seconds)):
        clock.run(0.05)
        count += filler.packets(size, rate, True)
    return 8 * PADDING * count / seconds


def test_padding_brings_what_is_sent_up_to_the_estimate_after_a_pause() -> None:
    clock = Clock()
    filler = Filler(clock)
    assert filler.packets(500, 1_000_000, True) == 0
    assert filled(filler, clock, 1_000_000, PAUSE - 0.1) == 0
    assert filled(filler, clock, 1_000_000, 20) == pytest.approx(1_000_000 - 8 * 500 * 20, rel=0.02)
    assert filler.packets(50_000, 1_000_000, True) == 0  # a frame that is large itself


def test_it_pauses_when_the_estimate_falls_for_longer_each_time() -> None:
    clock = Clock()
    filler = Filler(clock)
    filled(filler, clock, 1_000_000, 2 * PAUSE)
    pauses = []
    for number in range(1, 9):
        rate, since = 1_000_000 * 0.9**number, clock.now
        while not filler.packets(0, rate, True):
            clock.run(0.05)
        pauses.append(round(clock.now - since))
    assert pauses == [10, 20, 40, 80, 160, 160, 160, 160] and pauses[-1] == MOST_PAUSE


def test_who_needs_nothing_gets_none() -> None:
    clock = Clock()
    filler = Filler(clock)
    for _ in range(1000):
        clock.run(0.05)
        assert filler.packets(500, 4_000_000, False) == 0
