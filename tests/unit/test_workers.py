"""Several workers as one relay: who has which name, and what is divided. No process runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hime_core.errors import InputError
from server.limits.admission import Admission
from server.problems import Problem
from server.settings import Settings, load_settings
from server.workers.fleet import Fleet
from server.workers.pins import Pins
from server.workers.places import Places
from server.workers.shares import divided_ports, part, shares
from tests.unit.workers_world import ANN, BOB, Clock, in_use, report


class TestShares:
    @pytest.mark.parametrize(
        ("ports", "count", "ranges"),
        [
            ((0, 0), 3, ["", "", ""]),
            ((50000, 50009), 3, ["50000-50003", "50004-50006", "50007-50009"]),
            ((50000, 50001), 2, ["50000-50000", "50001-50001"]),
        ],
    )
    def test_ports(self, ports, count, ranges):
        assert divided_ports(ports, count) == ranges

    def test_too_few_ports_say_how_many_are_needed(self):
        with pytest.raises(InputError, match=r"^HIME_UDP_PORTS: 4 workers need .* there is 1: .* 50000-50003"):
            load_settings(workers=4, udp_ports="50000")

    @pytest.mark.parametrize(
        ("cores", "ports", "count"),
        [
            (0.5, "", 1),
            (2, "", 1),
            (7.9, "", 1),
            (8, "", 2),
            (16, "", 4),
            (16, "50000-50002", 3),
            (16, "50000", 1),
            (999, "", 64),
        ],
    )
    def test_there_is_one_for_every_four_cores_unless_they_are_counted(self, monkeypatch, cores, ports, count):
        monkeypatch.delenv("HIME_WORKERS", raising=False)
        monkeypatch.setattr("server.settings.workers.cores", lambda: cores)
        assert load_settings(udp_ports=ports).worker_count == count
        assert load_settings(udp_ports="50000-50009", workers=3).worker_count == 3

    def test_parts_are_the_whole(self):
        for whole in (0, 1, 7, 64):
            assert sum(part(whole, 5, number) for number in range(5)) == whole

    def test_each_worker_has_its_own_ports_and_all_else_in_common(self, tmp_path):
        settings = Settings(data=tmp_path, workers=2, udp_ports="50000-50003", max_checks=5, max_remembered=3)
        first, second = shares(settings)
        assert (first.ports, second.ports) == ((50000, 50001), (50002, 50003))
        assert (first.max_checks, second.max_checks, first.max_remembered, second.max_remembered) == (3, 2, 2, 1)
        assert first.max_participants == settings.max_participants and first.database == settings.database


class TestPins:
    def test_a_name_stays_where_it_is_until_a_later_report_no_longer_has_it(self):
        clock = Clock()
        pins = Pins(clock)
        with pins.arriving(ANN, 2):
            pins.reported(2, report(), clock())  # asked for while the offer is answered
            assert pins.of(ANN) == 2
        before = clock.now - 1
        pins.reported(2, report(), before)  # asked for before the answer
        assert pins.of(ANN) == 2
        pins.reported(2, report({ANN: in_use("s1")}), clock())
        pins.reported(1, report(), clock())  # another worker's says nothing of it
        assert pins.of(ANN) == 2
        pins.reported(2, report(), clock())
        assert pins.of(ANN) is None

    def test_watchers_of_one_who_may_come_back_keep_the_name_there(self):
        clock = Clock()
        pins = Pins(clock)
        with pins.arriving(ANN, 1):
            pass
        pins.reported(1, report({ANN: in_use(watchers=("w1",))}), clock())
        assert pins.of(ANN) == 1

    def test_a_worker_that_has_died_has_no_names(self):
        pins = Pins(Clock())
        for key, worker in ((ANN, 1), (BOB, 2)):
            with pins.arriving(key, worker):
                pass
        pins.reported(1, report({ANN: in_use("s1")}, remembered=[("r", "eve")]), 0.0)
        pins.gone(1)
        assert (pins.of(ANN), pins.of(BOB), pins.remembered_by(("r", "eve"))) == (None, 2, None)

    def test_load_counts_publishers_and_a_quarter_of_the_watchers(self):
        pins = Pins(Clock())
        with pins.arriving(ANN, 1):
            pins.reported(1, report({ANN: in_use("s1", watchers=("w1", "w2"))}), 0.0)
        assert (pins.load(1), pins.load(2)) == (1.5, 0)


class TestFleet:
    @pytest.fixture
    async def fleet(self, tmp_path):
        self.refused: list[str] = []
        fleet = Fleet(Settings(data=tmp_path, workers=2, worker_memory_mb=500), self.refused.append)
        for worker in fleet.workers:
            worker.state = "ready"
        yield fleet
        await fleet.close()

    async def test_newcomers_go_where_there_is_least_and_names_where_they_are(self, fleet):
        first = fleet.for_publisher(ANN)
        with fleet.pins.arriving(ANN, first.number):
            second = fleet.for_publisher(BOB)
        assert (first.number, second.number) == (1, 2)
        assert fleet.for_publisher(ANN) is first and fleet.for_name(ANN) is first

    async def test_who_comes_again_goes_to_whom_it_is_known(self, fleet):
        _, second = fleet.workers
        fleet._reported(second, report(remembered=[ANN]), 0.0)
        assert fleet.for_publisher(ANN) is second
        second.state = "full"
        assert fleet.for_publisher(ANN) is fleet.workers[0]

    async def test_the_keeper_of_photos_changes_only_when_it_is_gone(self, fleet):
        first, second = fleet.workers
        first.state = "down"
        assert fleet.keeper is second
        first.state = "ready"
        assert fleet.keeper is second
        second.state = "down"
        assert fleet.keeper is first

    async def test_a_worker_with_too_much_memory_takes_nobody_and_is_replaced_when_it_is_empty(self, fleet):
        first, second = fleet.workers
        replaced: list[int] = []
        for worker in fleet.workers:
            worker.replace = lambda number=worker.number: replaced.append(number)
        fleet._reported(first, report({ANN: in_use("s1")}, memory=501), 0.0)
        fleet._reported(second, report(memory=501), 0.0)  # has carried nobody: another would be no better
        assert (first.state, second.state, replaced) == ("full", "full", [])
        with pytest.raises(Problem) as caught:
            fleet.for_publisher(BOB)
        assert caught.value.status_code == 503 and caught.value.members["limit"] == "HIME_WORKER_MEMORY_MB"
        assert caught.value.headers and self.refused == ["memory"]
        fleet._reported(first, report(memory=501), 0.0)
        assert replaced == [1]
        fleet._reported(second, report(memory=499), 0.0)
        assert second.state == "ready" and fleet.for_publisher(BOB) is second

    async def test_without_a_worker_there_is_a_clear_answer(self, fleet):
        for worker in fleet.workers:
            worker.state = "down"
        with pytest.raises(Problem) as caught:
            fleet.for_name(ANN)
        assert caught.value.status_code == 503 and caught.value.headers == {"Retry-After": "1"}

    async def test_no_two_streams_have_one_number(self, fleet):
        fleet.number_from(11)
        orders = [fleet._orders(number) for number in (1, 2)]
        assert [(one.first, one.step) for one in orders] == [(13, 2), (14, 2)]
        fleet._begun.add(1)
        again = fleet._orders(1)  # numbers that its last process gave away may not have been told
        assert again.first % 2 == orders[0].first % 2 and again.first > orders[0].first + 1000


class TestPlaces:
    @pytest.fixture
    def world(self, tmp_path):
        clock = Clock()
        admission = Admission(Settings(data=tmp_path, max_participants=2, max_watchers=1))
        return SimpleNamespace(clock=clock, admission=admission, places=Places(admission, clock))

    def test_places_are_held_over_all_workers_until_a_report_lacks_the_session(self, world):
        for number, key in ((1, ANN), (2, BOB)):
            world.places.hold(f"s{number}", number, world.places.publisher(key, video=True), key)
        with pytest.raises(Problem):
            world.places.publisher(("r", "carl"), video=False)
        world.places.reported(1, report(), 0.0)  # asked for before the answer
        assert world.admission.participants.taken == 2
        world.places.reported(1, report(), world.clock())
        world.places.reported(2, report({BOB: in_use("s2")}), world.clock())
        assert world.admission.participants.taken == 1 and world.admission.streams.taken == 1

    def test_who_takes_a_name_over_shares_its_place(self, world):
        for session in ("s1", "s2"):
            world.places.hold(session, 1, world.places.publisher(ANN, video=True), ANN)
        assert world.admission.participants.taken == 1
        world.places.reported(1, report({ANN: in_use("s2")}), world.clock())
        assert world.admission.participants.taken == 1
        world.places.reported(1, report(), world.clock())
        assert world.admission.participants.taken == 0

    def test_a_dead_worker_gives_all_places_back(self, world):
        world.places.hold("s1", 1, world.places.publisher(ANN, video=True), ANN)
        world.places.hold("w1", 1, world.places.watcher(ANN))
        world.places.gone(1)
        assert (world.admission.participants.taken, world.admission.watchers.taken) == (0, 0)
