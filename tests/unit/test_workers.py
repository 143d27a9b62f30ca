"""Several workers as one relay: who has which name, what is divided, and what is put together. No process runs."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from types import SimpleNamespace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hime_core.errors import InputError
from server.app import Among, create_app
from server.exemplars.elsewhere import Nowhere
from server.limits.admission import Admission
from server.load.cost import Cost
from server.load.processor import Processor
from server.observability.machine import Machine, Usage
from server.observability.metrics import Metrics
from server.observability.window import Window
from server.problems import Problem
from server.rooms.events import Event
from server.settings import Settings, load_settings
from server.workers.control import install
from server.workers.exposition import Merged
from server.workers.fleet import Fleet
from server.workers.merged_room import MergedRoom
from server.workers.orders import SECRET_HEADER
from server.workers.pins import Pins
from server.workers.places import Places
from server.workers.report import NameTold, Report, RoomTold
from server.workers.seconds import LATE, WAIT, MergedSeconds
from server.workers.shares import divided_ports, part, shares
from server.workers.worker import unix_clock
from tests.unit.enhancer_stage import ByColour
from tests.unit.relay_fakes import FakeDetector, FakeEngine


class Clock:
    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 0.001  # no two moments are one
        return self.now


def report(names: dict[tuple[str, str], NameTold] | None = None, memory: float = 100.0, remembered=()) -> Report:
    rooms: dict[str, dict[str, NameTold]] = {}
    for (room, name), told in (names or {}).items():
        rooms.setdefault(room, {})[name] = told
    for room, _ in remembered:
        rooms.setdefault(room, {})
    return Report(
        rooms={
            room: RoomTold(names=told, remembered=[name for at, name in remembered if at == room])
            for room, told in rooms.items()
        },
        streams=[],
        bank=0,
        most_streams=8,
        most_watchers=64,
        memory_mib=memory,
        cpu_cores=0.1,
        reasons=[],
        recogniser=None,
        seconds=[],
    )


def in_use(*sessions: str, watchers: tuple[str, ...] = ()) -> NameTold:
    return NameTold(sessions=list(sessions), watchers=list(watchers))


ANN, BOB = ("r", "ann"), ("r", "bob")


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


def joined(name: str) -> Event:
    return Event("joined", {"participant": name})


def left(name: str) -> Event:
    return Event("left", {"participant": name})


def lost(name: str) -> Event:
    return Event("reconnecting", {"participant": name})


def stats(*names: str, lost: tuple[str, ...] = ()) -> Event:
    told = {"reconnecting": list(lost)} if lost else {}
    return Event("stats", {"participants": {name: {"fps_in": 1} for name in names}} | told)


def named(events: list[Event]) -> list[tuple[str, object]]:
    return [(one.name, one.data.get("participant") or sorted(one.data["participants"])) for one in events]


class TestMergedRoom:
    def test_statistics_are_of_all_workers_and_come_once_a_round(self):
        room = MergedRoom()
        for worker, name in ((1, "ann"), (2, "bob")):
            assert room.take(worker, joined(name)) == [joined(name)]
        assert room.take(1, stats("ann")) == []  # Bob would be taken to have left
        assert named(room.take(2, stats("bob"))) == [("stats", ["ann", "bob"])]
        assert room.take(2, stats("bob")) == []
        assert named(room.take(1, stats("ann"))) == [("stats", ["ann", "bob"])]

    def test_a_worker_that_is_late_holds_nothing_up(self):
        room = MergedRoom()
        for worker, name in ((1, "ann"), (2, "bob")):
            room.take(worker, joined(name))
            room.take(worker, stats(name))
        assert named(room.take(1, stats("ann"))) == [("stats", ["ann", "bob"])]
        assert room.take(1, stats("ann")) == []
        assert named(room.take(1, stats("ann"))) == [("stats", ["ann", "bob"])]

    def test_who_has_left_or_is_lost_is_in_no_later_statistics(self):
        room = MergedRoom()
        for worker, name in ((1, "ann"), (2, "bob")):
            room.take(worker, joined(name))
            room.take(worker, stats(name))
        assert room.take(1, left("ann")) == [left("ann")]
        assert room.take(2, lost("bob")) == [lost("bob")]
        (told,) = room.take(1, stats())
        assert told.data == {"participants": {}, "reconnecting": ["bob"]}
        assert room.first() == [lost("bob")]

    def test_when_a_worker_dies_its_participants_have_left(self):
        room = MergedRoom()
        for worker, name in ((1, "ann"), (2, "bob"), (2, "carl")):
            room.take(worker, joined(name))
        room.take(2, lost("carl"))
        assert room.gone(2) == [left("bob"), left("carl")]
        assert room.first() == [joined("ann")]
        assert named(room.take(1, stats("ann"))) == [("stats", ["ann"])]

    def test_what_an_old_worker_says_of_a_name_that_is_elsewhere_counts_no_longer(self):
        room = MergedRoom()
        room.take(1, joined("ann"))
        room.take(2, joined("ann"))
        assert room.take(1, left("ann")) == []
        assert room.first() == [joined("ann")]

    def test_events_that_were_missed_are_made_up_for(self):
        room = MergedRoom()
        room.take(1, joined("ann"))
        room.take(1, joined("bob"))
        assert named(room.take(1, stats("bob"))) == [("left", "ann"), ("stats", ["bob"])]

    def test_that_one_worker_ends_tells_nobody_that_the_relay_does(self):
        assert MergedRoom().take(1, Event("draining", {"seconds": 3})) == []


class TestExposition:
    @staticmethod
    def values(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        families = text_string_to_metric_families(text.decode())
        return {(one.name, tuple(sorted(one.labels.items()))): one.value for each in families for one in each.samples}

    @staticmethod
    def counted(frames: int, streams: int = 0) -> Metrics:
        metrics = Metrics()
        for _ in range(frames):
            metrics.frame("enhanced")
            metrics.stage("decode", 0.002)
        metrics.set_streams("in", streams)
        return metrics

    def test_counts_are_sums_and_the_front_says_whether_it_is_ready(self):
        front, merged = Metrics(), Merged()
        front.set_ready(True)
        front.refused("host")
        texts = {"front": front, 1: self.counted(3, 2), 2: self.counted(4, 1)}
        text = merged.merge({name: metrics.exposition().decode() for name, metrics in texts.items()})
        values = self.values(text)
        assert values["hime_frames_total", (("outcome", "enhanced"),)] == 7
        assert values["hime_stage_duration_seconds_count", (("stage", "decode"),)] == 7
        assert values["hime_stage_duration_seconds_bucket", (("le", "0.001"), ("stage", "decode"))] == 0
        assert values["hime_streams", (("direction", "in"),)] == 3
        assert values["hime_ready", ()] == 1 and values["hime_refused_total", (("reason", "host"),)] == 1
        assert text.count(b"# TYPE hime_frames_total counter") == 1

    def test_counters_do_not_fall_when_a_worker_dies_and_gauges_do(self):
        front, merged = Metrics().exposition().decode(), Merged()
        merged.merge({"front": front, 1: self.counted(3, 2).exposition().decode()})
        merged.gone(1)
        values = self.values(merged.merge({"front": front}))
        assert values["hime_frames_total", (("outcome", "enhanced"),)] == 3
        values = self.values(merged.merge({"front": front, 1: self.counted(1, 1).exposition().decode()}))
        assert values["hime_frames_total", (("outcome", "enhanced"),)] == 4
        assert values["hime_streams", (("direction", "in"),)] == 1

    def test_counters_do_not_fall_while_a_worker_does_not_answer(self):
        front, merged = Metrics().exposition().decode(), Merged()
        worker = self.counted(3, 2)
        merged.merge({"front": front, 1: worker.exposition().decode()})
        values = self.values(merged.merge({"front": front}))
        assert values["hime_frames_total", (("outcome", "enhanced"),)] == 3
        worker.frame("enhanced")
        values = self.values(merged.merge({"front": front, 1: worker.exposition().decode()}))
        assert values["hime_frames_total", (("outcome", "enhanced"),)] == 4


class TestReport:
    async def test_the_machine_is_not_looked_at_in_the_event_loops_thread(self, tmp_path, monkeypatch):
        looks: list[threading.Thread] = []

        def look(machine):
            looks.append(threading.current_thread())
            return Usage(memory_mib=7.0)

        monkeypatch.setattr(Machine, "look", look)
        app = create_app(
            Settings(data=tmp_path),
            FakeEngine(),
            FakeDetector(),
            ByColour(),
            among=Among(itertools.count(1), Nowhere()),
        )
        install(app, "secret")
        transport, headers = httpx.ASGITransport(app), {SECRET_HEADER: "secret"}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client,
            asyncio.timeout(10),
        ):
            while (await client.get("/worker/report")).json()["memory_mib"] != 7.0:
                await asyncio.sleep(0.05)
        assert looks and threading.current_thread() not in looks

    async def test_a_worker_is_told_how_deep_the_others_have_stepped_down_and_tells_its_own(self, tmp_path):
        app = create_app(
            Settings(data=tmp_path),
            FakeEngine(),
            FakeDetector(),
            ByColour(),
            among=Among(itertools.count(1), Nowhere()),
        )
        install(app, "secret")
        transport, headers = httpx.ASGITransport(app), {SECRET_HEADER: "secret"}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client,
        ):
            load = app.state.relay.load
            stream = load.join()
            answer = await client.get("/worker/report", params={"others": 3})
            assert load.others == 3 and Report.model_validate_json(answer.content).cost == Cost()
            load._state = Processor(0.0, None, 1.0)
            load.look()
            told = Report.model_validate_json((await client.get("/worker/report", params={"others": 3})).content)
            assert (told.stepped, told.rungs["half_rate"], stream.rung.name) == (2, 1, "half_rate")


class TestSeconds:
    def test_a_second_is_that_of_all_workers(self):
        clock = SimpleNamespace(now=50.0)
        metrics = Metrics(lambda: clock.now - LATE, lambda: 1000.75 + clock.now - 50 - LATE)
        seconds = MergedSeconds(metrics.history)
        for latency, count in ((0.010, 3), (0.030, 1)):
            window = Window()
            for _ in range(count):
                window.sample("frame_latency", latency)
                window.counts["fps_in"] += 10
            seconds.add([(999, window.told())])  # that ended just now
            clock.now += WAIT / 2
        seconds.add([])
        clock.now += 2
        (point,) = [point for point in metrics.history.points() if point["t"] == 999]
        assert point["fps_in"] == 40 and point["frame_latency"]["count"] == 4
        assert point["frame_latency"]["p50"] == 10.0

    async def test_all_processes_count_by_one_clock_though_the_machines_is_set_anew(self, tmp_path, monkeypatch):
        fleet = Fleet(Settings(data=tmp_path, workers=2), lambda reason: None)
        first = fleet._orders(1)
        then = time.time()
        monkeypatch.setattr(time, "time", lambda: then + 3600)
        among = Among(itertools.count(1), Nowhere(), unix_clock(fleet._orders(2)))
        assert abs(unix_clock(first)() - then) < 60
        app = create_app(Settings(data=tmp_path), FakeEngine(), FakeDetector(), ByColour(), among=among)
        async with app.router.lifespan_context(app):
            assert abs(app.state.relay.metrics.history.now - unix_clock(first)()) < 60
        await fleet.close()
