"""Minutes: how they come from seconds, and that they are kept for a day, bounded, without names."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import threading
from pathlib import Path

import pytest

from server.observability.kept import DAY, KeptMinutes, Row, open_kept
from server.observability.machine import Machine, Usage
from server.observability.metrics import Metrics
from server.observability.table import as_csv
from server.observability.window import HANDED_ON
from server.rooms.keeper import Keeper
from server.rooms.streams import StreamTold, WatcherTold

MINUTE = 1_700_000_040.0  # a whole one


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics(clock=clock, wall=lambda: MINUTE)


@pytest.fixture
def kept(tmp_path: Path):
    kept = KeptMinutes(tmp_path / "figures.db")
    yield kept
    kept.close()


def test_a_minute_is_made_of_its_seconds(clock: Clock, metrics: Metrics) -> None:
    for second in range(60):
        clock.now = second + 0.5
        metrics.frame("enhanced")
        metrics.fps_in()
        metrics.fps_in()
        metrics.stage("decode", 0.001 if second < 57 else 0.1)
    assert metrics.history.minutes() == []
    clock.now = 60.0
    (minute,) = metrics.history.minutes()
    assert minute["t"] == MINUTE
    assert minute["outcomes"]["enhanced"] == 60 and minute["fps_in"] == 2.0
    decode = minute["stages"]["decode"]
    assert (decode["p50"], decode["count"]) == (1.0, 60) and decode["p95"] > 1.0
    assert metrics.history.minutes(after=MINUTE) == []


def test_a_minute_is_bounded_and_covers_all_of_it(clock: Clock, metrics: Metrics) -> None:
    for second in range(60):
        clock.now = second + 0.5
        for _ in range(4 * HANDED_ON):
            metrics.stage("decode", 0.001 * (second + 1))
    clock.now = 60.0
    (minute,) = metrics.history.minutes()
    assert minute["stages"]["decode"]["p50"] == pytest.approx(30.5, abs=1)
    assert minute["stages"]["decode"]["count"] == 240 * HANDED_ON


def test_minutes_outlive_the_relay(tmp_path: Path) -> None:
    first = KeptMinutes(tmp_path / "figures.db")
    first.add([Row(60, 0, {"fps_in": 1.0}), Row(60, 7, {"fps_in": 0.5}), Row(120, 0, {"fps_in": 2.0})])
    first.close()
    again = KeptMinutes(tmp_path / "figures.db")
    assert again.read(after=0) == [{"t": 60.0, "fps_in": 1.0}, {"t": 120.0, "fps_in": 2.0}]
    assert again.read(after=60) == [{"t": 120.0, "fps_in": 2.0}]
    assert again.read(after=0, stream=7) == [{"t": 60.0, "fps_in": 0.5}]
    assert again.last_stream == 7  # those to come have higher numbers
    again.close()


async def test_the_machine_is_looked_at_beside_the_event_loop(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rooms.keeper.LOOK", 0.01)
    threads: list[int] = []

    class Slow(Machine):
        def look(self) -> Usage:
            threads.append(threading.get_ident())
            return super().look()

    keeping = asyncio.create_task(Keeper(metrics, None, list, Slow()).run())
    while len(threads) < 2:
        await asyncio.sleep(0.01)
    keeping.cancel()
    assert threading.get_ident() not in threads


def test_what_is_older_than_a_day_goes(kept: KeptMinutes) -> None:
    kept.add([Row(60, 0, {})])
    kept.add([Row(60 + DAY, 0, {})])
    assert [point["t"] for point in kept.read(after=0)] == [60.0 + DAY]


def test_rows_are_bounded(tmp_path: Path) -> None:
    kept = KeptMinutes(tmp_path / "figures.db", most_rows=10)
    for minute in range(1, 8):
        kept.add([Row(60 * minute, stream, {}) for stream in range(3)])
    assert len(kept.read(after=0)) == 3 and kept.read(after=0)[-1]["t"] == 420.0
    kept.close()


def test_a_file_that_is_no_database_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "figures.db").write_bytes(b"nonsense" * 1000)
    kept = KeptMinutes(tmp_path / "figures.db")
    kept.add([Row(60, 0, {})])
    assert len(kept.read(after=0)) == 1
    kept.close()


def test_without_a_place_nothing_is_kept_and_it_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failures: list[int] = []
    assert open_kept(tmp_path / "file" / "figures.db", lambda: failures.append(1)) is None
    assert failures == [1]


def stream(enhanced: int) -> StreamTold:
    outcomes = {"enhanced": enhanced, "carried": 0, "passed": 0, "dropped": 0}
    watchers = [
        WatcherTold(
            number=number, view="enhanced", layout="upscale", kbps=800.0, path_kbps=4000.0, loss=loss, reduced=False
        )
        for number, loss in ((1, 0.01), (2, 0.2))
    ]
    return StreamTold(
        number=4,
        room=None,
        name=None,
        state="live",
        fps_in=20.0,
        fps_out=40.0,
        latency_ms=50.0,
        outcomes=outcomes,
        exemplars=3,
        watchers=watchers,
    )


def test_a_streams_minute(clock: Clock, metrics: Metrics) -> None:
    now = [stream(enhanced=100)]
    keeper = Keeper(metrics, None, lambda: now)
    assert keeper.rows() == []
    clock.now = 60.0
    everything, one = keeper.rows()
    assert (everything.stream, one.stream) == (0, 4) and one.t == MINUTE
    assert one.figures["kbps"] == 1600.0 and one.figures["loss"] == 0.2 and one.figures["watchers"] == 2
    now[0] = stream(enhanced=130)
    clock.now = 120.0
    assert keeper.rows()[1].figures["outcomes"]["enhanced"] == 30
    assert keeper.rows() == []


def test_what_is_kept_holds_no_names(tmp_path: Path, clock: Clock, metrics: Metrics) -> None:
    named = stream(1).model_copy(update={"room": "room-of-the-test", "name": "name-of-the-test"})
    keeper = Keeper(metrics, None, lambda: [named])
    clock.now = 60.0
    kept = KeptMinutes(tmp_path / "figures.db")
    kept.add(keeper.rows())
    kept.close()
    assert b"of-the-test" not in (tmp_path / "figures.db").read_bytes()


def test_a_table_has_a_column_for_each_figure() -> None:
    text = as_csv([{"t": 1.0, "stages": {"decode": {"p50": 2.0}}}, {"t": 2.0, "stages": {}, "gap": None}])
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"t": "1.0", "stages.decode.p50": "2.0", "gap": ""},
        {"t": "2.0", "stages.decode.p50": "", "gap": ""},
    ]


def test_the_machine_is_told_of_as_far_as_it_tells(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    clock, used = Clock(), Clock()
    (tmp_path / "stat").write_text("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n")
    (tmp_path / "self/statm").write_text("9000 2560 1 1 0 1 0\n")
    machine = Machine(tmp_path, clock, used)
    (tmp_path / "stat").write_text("cpu  400 0 100 780 120 0 0 0 0 0\ncpu0 1 2 3\n")
    clock.now, used.now = 2.0, 3.0
    usage = machine.look()
    assert usage.cpu_cores == 1.5 and usage.cpu_share == pytest.approx(0.75)
    assert usage.memory_mib is not None and usage.memory_mib >= 10
    nowhere = Machine(tmp_path / "nowhere", clock, used).look()
    assert nowhere.cpu_share is None and nowhere.memory_mib is None


def test_other_processes_count_as_the_relays_own(tmp_path: Path) -> None:
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")

    def process(name: str, ticks: int, mib: int) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "stat").write_text(f"7 (a name) of its own) S {'0 ' * 10}{ticks} {ticks} 0 0\n")
        (tmp_path / name / "statm").write_text(f"9000 {mib * 2**20 // page} 1 1 0 1 0\n")

    clock, pids = Clock(), [7]
    process("self", 0, 10)
    process("7", 100 * tick, 20)
    machine = Machine(tmp_path, clock, lambda: 0.0, lambda: pids)
    process("7", 101 * tick, 20)
    clock.now = 2.0
    usage = machine.look()
    assert (usage.cpu_cores, usage.memory_mib) == (1.0, 30.0)  # two seconds of processor time in two
    pids[:] = [8]
    process("8", 50 * tick, 5)
    clock.now = 3.0
    usage = machine.look()
    assert (usage.cpu_cores, usage.memory_mib) == (0.0, 15.0)  # what it had before is not this second's
    pids[:] = [9]
    clock.now = 4.0
    assert machine.look().memory_mib == 10.0  # one that has just ended
