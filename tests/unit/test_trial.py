"""Whoever can be sent no padding: how the full layer is tried, on simulated paths and by numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest

from server.media.send.bitrate import HIGH_LOSS, Bitrates
from server.media.send.layers import LayerChoice
from server.media.send.trial import CALM, STUCK, Unpadded
from tests.unit.simulated_path import Clock, Path, Watcher

LIMITS, BEST = Bitrates(), 4_000_000


class Unpaddable:
    """A watcher beside others on good paths: it gets what is encoded for them, or a reduced layer of its own."""

    def __init__(self, path: Path) -> None:
        self.watcher = Watcher(path, LIMITS.reduced.max, padded=False)
        self.choice = LayerChoice(LIMITS, self.watcher.clock)
        self.choice.begin(self.watcher.estimate.rate, BEST)

    def layers(self, seconds: float) -> list[str]:
        """Ten times a second."""
        found = []
        for _ in range(round(10 * seconds)):
            self.watcher.others = BEST if self.choice.layer == "full" else None
            self.watcher.run(0.1)
            path = self.watcher.estimate
            self.choice.update(path.rate, BEST, Unpadded(path.sending, 0.0))
            found.append(self.choice.layer)
        return found


def test_a_wide_path_gets_the_full_layer_and_keeps_it() -> None:
    unpadded = Unpaddable(Path(20_000_000, jitter=0.004))
    assert unpadded.choice.layer == "reduced"
    assert "full" in unpadded.layers(CALM + 15)
    assert set(unpadded.layers(60)) == {"full"}
    assert unpadded.watcher.estimate.rate >= BEST / 2 and not unpadded.choice.tries


def test_one_that_has_become_wide_does_after_trials_that_failed() -> None:
    unpadded = Unpaddable(Path(1_200_000))
    tried = unpadded.layers(150)
    assert "full" in tried and tried.count("full") < 0.05 * len(tried)
    unpadded.watcher.path.rate = 20_000_000
    unpadded.layers(200)
    assert set(unpadded.layers(60)) == {"full"}


@pytest.mark.parametrize("rate", [300_000, 800_000])
def test_a_path_that_the_reduced_layer_fills_is_not_tried(rate: int) -> None:
    assert set(Unpaddable(Path(rate)).layers(150)) == {"reduced"}


def test_a_narrow_path_is_seldom_tried_and_not_for_long() -> None:
    unpadded = Unpaddable(Path(1_500_000))
    layers = unpadded.layers(700)
    begins = [at for at in range(1, len(layers)) if layers[at - 1 : at + 1] == ["reduced", "full"]]
    pauses = [(after - before) / 10 for before, after in pairwise(begins)]
    assert 3 <= len(begins) <= 5 and pauses[-1] > 4 * pauses[0] and min(pauses) >= CALM
    assert layers.count("full") <= 0.02 * len(layers)
    assert layers.count("full") <= 10 * 5 * len(begins)


def trial(clock: Clock) -> LayerChoice:
    """One that has just begun, of a path that is known to carry a million."""
    choice = LayerChoice(LIMITS, clock)
    choice.begin(1e6, BEST)
    for _ in range(round(10 * CALM)):
        clock.run(0.1)
        choice.update(1e6, BEST, Unpadded(9e5, 0.0))
    clock.run(0.1)
    assert choice.layer == "reduced" and not choice.tries
    assert choice.update(1e6, BEST, Unpadded(9e5, 0.0)) and choice.layer == "full" and choice.tries
    return choice


@pytest.mark.parametrize(
    ("rate", "sending", "loss", "after"),
    [
        (0.85e6, 4e6, 0.0, 0.0),  # found full
        (1e6, 4e6, 2 * HIGH_LOSS, 0.0),
        (1e6, 4e6, 0.0, STUCK),  # more is sent, and does not arrive
        (1e6, 0.9e6, 0.0, None),  # a calm picture, which shows nothing and harms nobody
    ],
)
def test_a_trial_ends_when_the_path_is_found_full(
    rate: float, sending: float, loss: float, after: float | None
) -> None:
    clock = Clock()
    choice, begun = trial(clock), clock.now
    while not choice.update(rate, BEST, Unpadded(sending, loss)) and clock.now < begun + 60:
        clock.run(0.1)
    assert (choice.layer, choice.tries) == (("full", True) if after is None else ("reduced", False))
    if after is not None:
        assert clock.now - begun == pytest.approx(after, abs=0.15)


def test_a_path_that_was_full_a_while_ago_is_not_tried_nor_one_that_padding_shows() -> None:
    clock = Clock()
    choice = LayerChoice(LIMITS, clock)
    choice.begin(1e6, BEST)
    for number in range(6000):
        clock.run(0.1)
        full = number % 150 == 0
        assert not choice.update(0.85e6 if full else 1e6, BEST, Unpadded(1e6, 0.0))
        assert not choice.update(1e6, BEST)
