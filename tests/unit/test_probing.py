"""Clusters of padding: what they prove, and what they do not."""

from __future__ import annotations

import pytest

from server.media.send.probing import AGAIN, FIRST, LEAST, MOST_WAIT, TIMEOUT, Prober
from server.media.send.sent import Outcome
from tests.unit.simulated_path import Clock

RATE, WANTED, NEVER = 1_000_000.0, 4_000_000.0, float("-inf")


class Probed:
    def __init__(self) -> None:
        self.clock = Clock()
        self.sent: list[tuple[float, int]] = []  # when, and of which cluster
        self.proven: list[float] = []
        self.prober = Prober(self._send, self.proven.append, self.clock, self.clock.later)
        self.clock.run(FIRST)

    def _send(self, count: int, cluster: int) -> None:
        self.sent += [(self.clock.now, cluster)] * count

    def probe(self) -> list[tuple[float, int]]:
        """The packets of a cluster, if it is time for one."""
        before = len(self.sent)
        self.prober.consider(RATE, WANTED, NEVER)
        self.clock.run(0.05)
        return self.sent[before:]

    def arrive(self, cluster: list[tuple[float, int]], pace: float) -> None:
        """With `pace` times the time between packets that they were sent with."""
        self.prober.add([Outcome(at, 7 + pace * (at - cluster[0][0]), 295, number) for at, number in cluster])

    def seconds_until_next(self) -> float:
        since = self.clock.now
        while not self.probe():
            assert self.clock.now < since + 200
        return self.clock.now - since


def test_a_cluster_that_comes_as_it_was_sent_proves_its_rate() -> None:
    probed = Probed()
    cluster = probed.probe()
    assert len(cluster) >= LEAST and cluster[-1][0] - cluster[0][0] < 0.03
    probed.arrive(cluster, 1.0)
    (rate,) = probed.proven
    assert rate == pytest.approx(3 * RATE, rel=0.35)
    assert probed.probe()  # and the next one goes further at once


def test_one_that_comes_slower_proves_what_it_came_at() -> None:
    probed = Probed()
    probed.arrive(probed.probe(), 2.0)
    (rate,) = probed.proven
    assert rate == pytest.approx(1.5 * RATE, rel=0.35)


def test_one_that_was_held_up_and_came_at_once_proves_nothing_and_is_repeated_soon() -> None:
    probed = Probed()
    cluster = probed.probe()
    for _ in range(5):
        probed.arrive(cluster, 0.1)
        assert not probed.proven
        before = len(probed.sent)
        assert probed.seconds_until_next() <= AGAIN + 0.1
        cluster = probed.sent[before:]


@pytest.mark.parametrize("came", [0.0, 0.5])
def test_ones_that_are_lost_become_rare_whether_all_of_them_or_a_part(came: float) -> None:
    probed = Probed()
    waits, cluster = [], probed.probe()
    assert cluster
    for _ in range(9):
        probed.arrive(cluster[: int(came * len(cluster))], 1.0)
        before = len(probed.sent)
        waits.append(probed.seconds_until_next())
        cluster = probed.sent[before:]
    assert waits == sorted(waits) and waits[0] <= TIMEOUT + 1.1 and waits[-1] == pytest.approx(MOST_WAIT, abs=2)


def test_nothing_is_probed_where_nothing_is_wanted_or_the_path_was_just_full() -> None:
    probed = Probed()
    probed.prober.consider(0.96 * WANTED, WANTED, NEVER)
    probed.prober.consider(RATE, WANTED, probed.clock.now - 1)
    probed.clock.run(1)
    assert not probed.sent
