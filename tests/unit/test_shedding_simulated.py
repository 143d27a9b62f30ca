"""A machine of two cores with more and more enhanced calls, simulated: all are served, and nobody at another's cost.

A stream that has all takes 0.64 of a core, and on lower rungs what the ladder says of it, as measured on two cores
(`python -m benchmarks.calls.cpu_per_call --rungs`). Where all together want more than there is, frames come late, and
those that there is no time for are lost.
"""

from __future__ import annotations

import pytest

from hime_core.stream.ladder import LADDER, RUNGS
from server.load.load import LOOK, Load
from server.load.pace import RESERVE
from server.load.processor import Processor
from server.load.stream import StreamLoad
from server.observability.metrics import Metrics
from tests.unit.test_shedding import Clock, NoProcessor, levels

CORES, WHOLE = 2.0, 0.64
PASSED = RUNGS.index("passed")
FRAMES = 6  # of a stream, from look to look


class Machine:
    def __init__(self, elsewhere: float = 0.0) -> None:
        """elsewhere: cores that others take, come what may."""
        self.clock, self.processor = Clock(), NoProcessor()
        self.load = Load(Metrics(), self.clock, self.processor, CORES)  # type: ignore[arg-type]
        self.elsewhere = elsewhere
        self.streams: list[StreamLoad] = []
        self.sent = self.came = self.in_time = 0

    def join(self, count: int) -> None:
        self.streams += [self.load.join() for _ in range(count)]

    @property
    def wanted(self) -> float:
        return sum(WHOLE * stream.rung.cost for stream in self.streams)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK)):
            there = CORES - self.elsewhere
            served = min(1.0, there / self.wanted) if self.streams else 1.0
            latency = 0.03 if served == 1 else 0.2
            for stream in self.streams:
                came = round(FRAMES * served)
                self.sent, self.came = self.sent + FRAMES, self.came + came
                self.in_time += came if served == 1 else 0
                stream.felt.lost(FRAMES - came)
                for _ in range(came):
                    stream.felt.frame(latency)
            own = min(self.wanted, there)
            self.load._state = Processor(there - own, None, own)
            self.clock.now += LOOK
            self.load.look()
            assert not self.streams or max(levels(self.streams)) - min(levels(self.streams)) <= 1


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8, 12, 16, 20])
def test_everybody_is_served_and_nobody_is_starved(count: int) -> None:
    machine = Machine()
    machine.join(count)
    machine.run(30)
    machine.sent = machine.came = machine.in_time = 0
    machine.run(120)
    assert machine.came / machine.sent > 0.98 and machine.in_time / machine.sent > 0.95
    assert not machine.load.full
    if count <= 2:
        assert levels(machine.streams) == count * [0]  # there is time for all that is wanted


@pytest.mark.parametrize("count", [3, 4, 8, 12])
def test_what_there_is_is_used(count: int) -> None:
    """No more is left than is kept, and what a step of as many as step at a time would take."""
    machine = Machine(elsewhere=0.3)
    machine.join(count)
    machine.run(120)
    deepest = max(levels(machine.streams))
    step = WHOLE * (LADDER[deepest - 1].cost - LADDER[deepest].cost)
    assert CORES - machine.elsewhere - machine.wanted <= RESERVE * CORES + step


def test_work_elsewhere_comes_and_goes() -> None:
    machine = Machine()
    machine.join(2)
    machine.run(10)
    assert levels(machine.streams) == [0, 0]
    machine.elsewhere = 1.6
    machine.run(10)
    assert max(levels(machine.streams)) == PASSED and min(levels(machine.streams)) >= PASSED - 1  # and tries
    machine.elsewhere = 0.0
    machine.run(60)
    assert levels(machine.streams) == [0, 0]


def test_one_after_the_other_joins_and_those_who_are_there_give_way() -> None:
    machine = Machine()
    for _ in range(12):
        machine.join(1)
        machine.run(5)
    machine.sent = machine.came = 0
    machine.run(30)
    assert machine.came / machine.sent > 0.98
    del machine.streams[2:]
    for stream in set(machine.load._fairness.streams) - set(machine.streams):
        machine.load.leave(stream)
    machine.run(60)
    assert levels(machine.streams) == [0, 0]


def test_where_not_even_the_least_fits_the_machine_is_full() -> None:
    machine = Machine(elsewhere=1.5)
    machine.join(20)
    machine.run(10)
    assert machine.load.full and levels(machine.streams) == 20 * [len(LADDER) - 1]
    for stream in machine.streams[4:]:
        machine.load.leave(stream)
    del machine.streams[4:]
    machine.run(20)
    assert not machine.load.full
