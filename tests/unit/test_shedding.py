"""Who steps down the ladder and up, when, and that nobody has two steps more than another; on a clock set by hand."""

from __future__ import annotations

import random

import pytest

from hime_core.stream.ladder import LADDER, RUNGS
from server.load.fairness import Fairness
from server.load.felt import LONGER, PART, Felt, Lateness
from server.load.load import LOOK, Load
from server.load.pace import CALM, SETTLE, SOON, UNSURE, Pace
from server.load.processor import Processor
from server.load.stream import StreamLoad
from server.observability.metrics import Metrics

LAST = len(LADDER) - 1
CALMLY, LATE, BADLY = Lateness(0.0, 0.0), Lateness(0.2, 0.15), Lateness(0.6, 0.3)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class NoProcessor:
    """What the kernel says is set by hand."""

    def __init__(self, spare: float | None = 2.0, own: float = 1.0) -> None:
        self.state = Processor(spare, None, own)

    def look(self) -> Processor:
        return self.state


def streams(count: int) -> tuple[Fairness, list[StreamLoad], list[str]]:
    steps: list[str] = []
    fairness = Fairness(steps.append)
    those = [StreamLoad() for _ in range(count)]
    for stream in those:
        fairness.join(stream)
    return fairness, those, steps


def levels(those: list[StreamLoad]) -> list[int]:
    return [LADDER.index(stream.rung) for stream in those]


# --- who


def test_the_rungs_cost_less_and_less():
    costs = [rung.cost for rung in LADDER]
    assert costs == sorted(set(costs), reverse=True) and costs[0] == 1
    assert RUNGS == ("whole", "references_1", "half_rate", "quarter_rate", "passed", "plain")


def test_all_step_down_by_turns_and_nobody_twice_before_another_once():
    fairness, those, steps = streams(3)
    seen = []
    while fairness.down():
        seen.append(levels(those))
    assert seen[:4] == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1]]
    assert seen[-1] == 3 * [LAST] and len(seen) == 3 * LAST and steps == 3 * LAST * ["down"]


def test_who_has_been_down_longest_is_raised_first():
    fairness, those, steps = streams(3)
    for _ in range(4):
        fairness.down()
    assert levels(those) == [2, 1, 1]
    fairness.up()
    assert levels(those) == [1, 1, 1]
    fairness.up()
    assert levels(those) == [1, 0, 1]  # the first has only just come there
    fairness.up()
    assert levels(those) == [1, 0, 0]
    assert steps == 4 * ["down"] + 3 * ["up"]


def test_whatever_happens_levels_are_one_apart_at_most():
    chance = random.Random(7)
    fairness, those, _ = streams(5)
    for _ in range(2000):
        match chance.choice(["down", "down", "up", "join", "leave", "watch"]):
            case "down":
                fairness.down()
            case "up":
                fairness.up()
            case "join" if len(those) < 12:
                those.append(StreamLoad())
                fairness.join(those[-1])
            case "leave" if those:
                fairness.leave(those.pop(chance.randrange(len(those))))
            case "watch" if those:
                useful = chance.random() < 0.5
                chance.choice(those).useful = lambda rung, useful=useful: useful
        assert max(levels(those), default=0) - min(levels(those), default=0) <= 1
        assert fairness.counts().total() == len(those)


def test_a_step_that_saves_nothing_is_taken_along():
    fairness, (unwatched, watched), _ = streams(2)
    unwatched.useful = lambda rung: False
    assert fairness.down()
    assert levels([unwatched, watched]) == [1, 1]
    fairness.up()
    assert LADDER.index(watched.rung) == 0


def test_there_is_an_end_to_stepping_down():
    fairness, (only,), steps = streams(1)
    only.useful = lambda rung: False
    assert not fairness.down() and not fairness.down()
    assert levels([only]) == [LAST] and len(steps) == LAST
    assert not Fairness().down() and not Fairness().up()


def test_a_newcomer_begins_where_those_are_who_have_least():
    fairness, _, _ = streams(2)
    fairness.down()
    newcomer = StreamLoad()
    fairness.join(newcomer)
    assert levels([newcomer]) == [1]


# --- when


def test_some_step_down_where_some_frames_are_late_and_all_where_many_are():
    assert Pace(2.0, Clock()).down(LATE, 8) == 2
    assert Pace(2.0, Clock()).down(LATE, 1) == 1
    assert Pace(2.0, Clock()).down(BADLY, 8) == 8
    assert Pace(2.0, Clock()).down(Lateness(0.9, 0.9), 8) == 16
    assert Pace(2.0, Clock()).down(CALMLY, 8) == 0


def test_what_is_measured_right_after_a_step_brings_no_other():
    clock = Clock()
    pace = Pace(2.0, clock)
    assert pace.down(BADLY, 4) and pace.settling
    assert pace.down(BADLY, 4) == 0
    clock.now += SETTLE + 0.01
    assert pace.down(BADLY, 4) == 4


def raised_after(pace: Pace, clock: Clock, costs: float, spare: float | None) -> float:
    """Seconds of calm until the next step up."""
    began = clock.now
    while not pace.up(CALMLY, 2, costs, spare):
        clock.now += LOOK
        assert clock.now - began < 1000
    return clock.now - began


def test_up_comes_after_some_calm_and_later_where_the_processor_is_busy():
    clock = Clock()
    pace = Pace(2.0, clock)
    pace.down(LATE, 2)
    clock.now += 1
    assert raised_after(pace, clock, 0.2, 2.0) == pytest.approx(CALM[0], abs=LOOK)
    assert raised_after(pace, clock, 0.2, 0.3) == pytest.approx(UNSURE * CALM[0], abs=LOOK)  # some of it is kept
    assert raised_after(pace, clock, 0.2, None) == pytest.approx(UNSURE * CALM[0], abs=LOOK)


def test_several_step_up_at_once_as_far_as_the_processor_has_time_for_them():
    for spare, expected in ((0.45, 1), (0.65, 2), (9.0, 3)):
        clock = Clock()
        pace = Pace(2.0, clock)
        pace.up(CALMLY, 12, 0.2, spare)
        clock.now += CALM[0]
        assert pace.up(CALMLY, 12, 0.2, spare) == expected


def test_a_step_up_that_does_not_last_makes_the_next_one_wait_twice_as_long():
    clock = Clock()
    pace = Pace(2.0, clock)
    waits = []
    for _ in range(8):
        waits.append(raised_after(pace, clock, 0.2, 2.0))
        clock.now += 1
        pace.down(LATE, 2)
        clock.now += SETTLE + 0.01
    assert [round(wait) for wait in waits] == [2, 4, 8, 16, 32, 60, 60, 60]
    raised_after(pace, clock, 0.2, 2.0)
    clock.now += SOON + 1
    pace.down(LATE, 2)
    clock.now += SETTLE + 0.01
    assert raised_after(pace, clock, 0.2, 2.0) == pytest.approx(CALM[0], abs=LOOK)


def test_a_step_up_that_lasts_until_the_next_halves_the_wait():
    """A machine that was short for long, and no longer is, gives everything back soon."""
    clock = Clock()
    pace = Pace(2.0, clock)
    for _ in range(8):
        raised_after(pace, clock, 0.2, 2.0)
        clock.now += 1
        pace.down(LATE, 2)
        clock.now += SETTLE + 0.01
    waits = [raised_after(pace, clock, 0.2, 2.0) for _ in range(8)]
    assert [round(wait) for wait in waits] == [60, 60, 30, 15, 8, 4, 2, 2]


def test_a_step_up_that_was_too_much_is_taken_back_alone():
    clock = Clock()
    pace = Pace(2.0, clock)
    raised_after(pace, clock, 0.2, 0.5)
    clock.now += 1
    assert pace.down(BADLY, 8) == 1
    clock.now += SETTLE + 0.01
    assert pace.down(BADLY, 8) == 8  # it was not that


# --- by what


def test_late_and_lost_frames_are_felt_for_some_seconds():
    clock = Clock()
    felt = Felt(clock, patience=0.12)

    def played(seconds: float, late: float) -> None:
        for number in range(round(50 * seconds)):
            clock.now += 0.02
            felt.frame(0.1 if number % 10 < 10 * late else 0.08)

    played(3, 0.0)
    assert felt.now() == CALMLY
    played(1.1, 0.4)
    assert felt.now().lately == pytest.approx(0.35, abs=0.15) and felt.now().longer == 0
    played(1.2, 0.4)
    assert felt.now().longer == pytest.approx(0.4, abs=0.1)
    for _ in range(12):
        clock.now += 0.1
        felt.lost(10)
    assert felt.now().lately > 0.9
    clock.now += PART
    assert felt.now().lately == 0 and felt.now().longer > 0.4
    clock.now += LONGER * PART
    assert felt.now() == CALMLY


@pytest.mark.parametrize("stall", [0.1, 0.3, 0.5])
def test_a_single_stall_tells_nothing(stall: float):
    """All frames of half a second are late: nothing that streams do without would have helped."""
    clock = Clock()
    felt, pace = Felt(clock), Pace(2.0, clock)
    for number in range(500):
        clock.now += 0.02
        felt.frame(0.4 if 4 < number / 50 < 4 + stall else 0.03)
        assert pace.down(felt.now(), 8) == 0


def test_one_late_frame_among_few_means_little():
    felt = Felt(Clock())
    felt.frame(1.0)
    assert felt.now().lately < 0.1 and felt.now().longer < 0.1
    felt.forget()
    assert felt.now() == CALMLY


def test_who_lets_frames_wait_longer_is_not_late_so_soon():
    felt = Felt(Clock(), patience=0.4)
    for _ in range(30):
        felt.frame(0.25)
    assert felt.now() == CALMLY


# --- together


class Relay:
    """Streams at 25 frames a second, whose latency is set by hand."""

    def __init__(self, count: int, spare: float | None = 2.0) -> None:
        self.clock, self.metrics = Clock(), Metrics()
        self.load = Load(self.metrics, self.clock, NoProcessor(spare), 2.0)  # type: ignore[arg-type]
        self.load._state = self.load._processor.look()
        self.streams = [self.load.join() for _ in range(count)]
        self.latency = 0.03

    def run(self, seconds: float, lag: float = 0.0) -> list[list[int]]:
        """The streams' levels at each look."""
        seen = []
        for _ in range(round(seconds / LOOK)):
            for stream in self.streams:
                for _ in range(6):
                    stream.felt.frame(self.latency)
            self.clock.now += LOOK
            self.load.look(lag)
            seen.append(levels(self.streams))
        return seen

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"hime_{name}", labels)


def test_streams_step_down_at_once_and_come_back():
    relay = Relay(3)
    relay.run(2)
    relay.latency = 0.2
    relay.run(10)
    assert levels(relay.streams) == 3 * [LAST] and relay.load.full
    assert (
        relay.value("shed_streams", rung="plain") == 3 and relay.value("shed_steps_total", direction="down") == 3 * LAST
    )
    assert relay.value("late_share") > 0.5
    relay.latency = 0.03
    relay.run(60)
    assert levels(relay.streams) == [0, 0, 0] and not relay.load.full
    assert relay.value("shed_steps_total", direction="up") == 3 * LAST


def test_under_a_steady_load_levels_stay():
    """The machine has time for all on `passed`, and for nobody on the rung above."""
    relay = Relay(2, spare=0.0)
    changes = 0
    before = levels(relay.streams)
    for look in range(round(300 / LOOK)):
        relay.latency = 0.2 if relay.load._fairness.highest < RUNGS.index("passed") else 0.03
        relay.run(LOOK)
        changes += look > 40 and levels(relay.streams) != before
        before = levels(relay.streams)
    assert changes <= 16  # tries, one each minute in the end, and their ends


def test_an_event_loop_that_is_late_counts_as_late_frames():
    relay = Relay(4)
    relay.run(2, lag=0.2)
    assert max(levels(relay.streams)) == 0  # it may be the last time
    relay.run(2, lag=0.2)
    assert max(levels(relay.streams)) >= 1


def test_nobody_has_two_steps_more_than_those_of_another_process():
    relay = Relay(2)
    relay.load.others = 3
    relay.run(LOOK)
    assert levels(relay.streams) == [2, 2]
    relay.run(10)
    assert levels(relay.streams) == [2, 2]  # until the others have come up as well
    relay.load.others = 0
    relay.run(20)
    assert levels(relay.streams) == [0, 0]


def test_others_are_to_step_down_only_where_the_machine_is_short():
    relay = Relay(2, spare=1.5)
    relay.latency = 0.2
    relay.run(2)
    assert relay.load._fairness.deepest > 0 and relay.load.stepped == 0
    relay.load._state = Processor(0.0, None, 2.0)
    assert relay.load.stepped == relay.load._fairness.deepest


def test_who_leaves_is_no_longer_counted():
    relay = Relay(2)
    relay.load.leave(relay.streams.pop())
    relay.run(1)
    assert relay.value("shed_streams", rung="whole") == 1
