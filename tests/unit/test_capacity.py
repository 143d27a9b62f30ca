"""Places by what streams cost: measured, reserved at the offer, and refused; on a clock set by hand."""

from __future__ import annotations

import pytest

from hime_core.stream.ladder import LADDER
from server.limits.admission import WATCHERS_PER_STREAM, Admission, Admitted
from server.load.capacity import USABLE, Capacity
from server.load.cost import Cost, Costs, together
from server.load.spent import Spent
from server.load.stream import StreamLoad
from server.problems import Problem
from server.settings import Settings
from tests.unit.test_shedding import Clock

CORES = 2.0


class Machine:
    """An admission whose places follow costs."""

    def __init__(self, **settings: object) -> None:
        self.refused: list[str] = []
        chosen = Settings(_env_file=None, max_participants=1000, max_participants_per_room=1000, **settings)
        self.admission = Admission(chosen, refused=self.refused.append)
        self.capacity = Capacity(self.admission, chosen, CORES)

    def burst(self) -> int:
        """How many come at once, before any of them costs anything."""
        held: list[Admitted] = []
        with pytest.raises(Problem) as caught:
            while len(held) < 500:
                held.append(self.admission.publisher(str(len(held)), True))
        assert caught.value.status_code == 503 and caught.value.kind == "relay-full"
        assert int(caught.value.headers["Retry-After"]) > 0 and self.refused == ["streams"]
        for one in held:
            one.release()
        self.refused.clear()
        return len(held)


def test_before_anything_is_measured_places_are_those_of_the_estimate():
    machine = Machine()
    estimated = machine.burst()
    machine.capacity.update(Cost(), full=False)
    assert machine.burst() == estimated


def test_places_follow_what_streams_cost():
    machine = Machine()
    machine.capacity.update(Cost(0.1, 0.01, 3), full=False)
    assert machine.burst() == int(USABLE * CORES / 0.1)
    machine.capacity.update(Cost(0.4, 0.01, 3), full=False)
    assert machine.burst() == int(USABLE * CORES / 0.4)
    machine.capacity.update(Cost(50.0, 1.0, 1), full=False)
    assert machine.burst() == 1  # whoever is alone may try


def test_where_all_have_the_least_and_are_late_nobody_comes_in_until_one_leaves():
    machine = Machine()
    there = [machine.admission.publisher("r", True) for _ in range(3)]
    machine.capacity.update(Cost(0.1, 0.01, 3), full=True)
    with pytest.raises(Problem):
        machine.admission.publisher("r", True)
    there.pop().release()
    machine.admission.publisher("r", True)
    machine.capacity.update(Cost(0.1, 0.01, 3), full=False)
    machine.admission.publisher("r", True)


def test_full_before_anything_was_measured_and_relieved():
    machine = Machine()
    estimated = machine.admission.streams.in_all
    machine.admission.publisher("r", True)
    machine.capacity.update(Cost(), full=True)
    assert machine.admission.streams.in_all == 1
    machine.capacity.update(Cost(), full=False)
    assert machine.admission.streams.in_all == estimated


def test_who_has_a_place_keeps_it_when_there_are_fewer():
    machine = Machine()
    there = [machine.admission.publisher("r", True) for _ in range(4)]
    machine.capacity.update(Cost(0.6, 0.01, 4), full=False)
    assert machine.admission.streams.taken == 4 > machine.admission.streams.in_all
    for one in there:
        one.release()
    assert machine.burst() == 2


def test_watchers_take_what_streams_leave():
    machine = Machine()
    for _ in range(2):
        machine.admission.publisher("r", True)
    watching = machine.admission.watcher("r", "ann")
    machine.capacity.update(Cost(0.1, 0.05, 2), full=False)
    assert machine.admission.watchers.in_all == 1 + int((USABLE * CORES - 0.2) / 0.05)
    watching.release()


def test_those_who_are_there_may_be_watched_however_short_the_machine_is():
    machine = Machine()
    for _ in range(3):
        machine.admission.publisher("r", True)
    machine.capacity.update(Cost(0.6, 0.05, 3), full=True)
    for _ in range(3 * WATCHERS_PER_STREAM):
        machine.admission.watcher("r", "ann")
    with pytest.raises(Problem):
        machine.admission.watcher("r", "ann")


def test_numbers_set_by_hand_are_exact():
    machine = Machine(max_streams=5, max_watchers=7)
    for cost, full in ((Cost(0.6, 0.1, 2), False), (Cost(0.001, 0.001, 2), False), (Cost(0.6, 0.1, 2), True)):
        machine.capacity.update(cost, full)
        assert machine.burst() == 5 and machine.admission.watchers.in_all == 7


def test_places_of_one_participant_follow_those_of_all():
    """Where no limit of its own is set."""
    machine = Machine()
    machine.admission.streams.in_all = 3
    assert machine.admission.streams.of_each == 3


# --- what streams cost


class Measured:
    """Streams that spend by hand, and an event loop that does."""

    def __init__(self) -> None:
        self.clock, self.loop = Clock(), 0.0
        self.costs = Costs(self.clock, lambda: self.loop)

    def second(self, streams: dict[StreamLoad, dict[str, float]], watchers: int, loop: float) -> Cost:
        for stream, spent in streams.items():
            for part, seconds in spent.items():
                stream.spent._seconds[part] += seconds  # type: ignore[index]
        self.clock.now += 1
        self.loop += loop
        return self.costs.look(streams, watchers)


WHOLE = {"decode": 0.02, "faces": 0.05, "show": 0.08, "encode": 0.12}


def test_a_stream_at_the_least_decodes_and_encodes_what_is_not_enlarged():
    measured, stream = Measured(), StreamLoad()
    stream.shrinks = lambda: 0.25
    measured.second({stream: WHOLE}, 1, 0.02)
    cost = measured.second({stream: WHOLE}, 1, 0.02)
    assert cost.cores == pytest.approx(0.02 + 0.12 / 4 + 0.02) and cost.watcher == pytest.approx(0.01)
    assert cost.streams == 1


def test_on_the_last_rung_all_is_the_least():
    measured, stream = Measured(), StreamLoad()
    stream.rung = LADDER[-1]
    measured.second({stream: WHOLE}, 1, 0.0)
    assert measured.second({stream: WHOLE}, 1, 0.0).cores == pytest.approx(sum(WHOLE.values()))


def test_what_is_measured_moves_slowly():
    measured, stream = Measured(), StreamLoad()
    for _ in range(5):
        before = measured.second({stream: {"decode": 0.1, "encode": 0.1}}, 1, 0.0)
    after = measured.second({stream: {"decode": 1.0, "encode": 1.0}}, 1, 0.0)
    assert before.cores == pytest.approx(0.2) and after.cores == pytest.approx(0.2 + 0.1 * 1.8)


def test_a_stream_that_nobody_watches_says_nothing_of_what_streams_cost():
    measured, unwatched = Measured(), StreamLoad()
    for _ in range(3):
        assert measured.second({unwatched: {"decode": 0.01}}, 0, 0.01).cores is None
    watched = StreamLoad()
    for _ in range(2):
        cost = measured.second({unwatched: {"decode": 0.01}, watched: WHOLE}, 1, 0.0)
    assert cost.cores == pytest.approx(0.14) and cost.streams == 1


def test_who_left_is_forgotten_and_what_was_measured_is_not():
    measured, stream = Measured(), StreamLoad()
    measured.second({stream: WHOLE}, 1, 0.0)
    before = measured.second({stream: WHOLE}, 1, 0.0)
    assert measured.second({}, 0, 0.0) == before


def test_several_processes_count_by_their_streams():
    cost = together([Cost(0.1, 0.01, 3), Cost(0.3, 0.03, 1), Cost(), Cost(5.0, 5.0, 0)])
    assert cost.cores == pytest.approx(0.15) and cost.watcher == pytest.approx(0.015) and cost.streams == 4
    assert together([Cost()]) == Cost()


def test_each_thread_adds_its_own_time():
    spent, times = Spent(), iter([1.0, 1.5, 1.75, 7.0, 7.25])
    cpu = lambda: next(times)  # noqa: E731
    decode = spent.thread("decode", cpu)
    decode()
    decode()
    spent.thread("encode", cpu)()
    assert spent.now() == {"decode": 0.75, "faces": 0.0, "show": 0.0, "encode": 0.25}
