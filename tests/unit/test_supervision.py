"""Background work goes on after an error, and what blocks is not waited for on the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from types import SimpleNamespace

import pytest

from server.observability.metrics import Metrics
from server.rooms import rooms as rooms_module
from server.rooms import sweep
from server.rooms.rooms import Rooms
from server.settings import Settings
from server.supervision import CALM, FIRST_PAUSE, LONGEST_PAUSE, Tasks, off_the_loop, supervised
from tests.unit.enhancer_stage import Clock
from tests.unit.test_room import Participant

NAME = "somebody-s-name"  # that errors carry


async def test_work_that_raises_is_started_again_after_pauses_that_grow_up_to_a_bound(caplog):
    pauses, failures, runs = [], [], 0

    async def work():
        nonlocal runs
        runs += 1
        if runs <= 12:
            raise KeyError(NAME)

    async def sleep(seconds):
        pauses.append(seconds)

    await supervised("sweep", work, failures.append, Clock(), sleep)
    assert runs == 13 and failures == ["sweep"] * 12
    assert pauses[:4] == [FIRST_PAUSE * 2**n for n in range(4)] and pauses[-1] == LONGEST_PAUSE
    assert "KeyError" in caplog.text and "test_supervision.py" in caplog.text
    assert NAME not in caplog.text  # a message may hold somebody's name


async def test_after_a_calm_time_the_next_pause_is_short_again():
    clock, pauses = Clock(), []

    async def work():
        clock.now += CALM + 1 if len(pauses) == 3 else 0
        if len(pauses) < 5:
            raise RuntimeError

    async def sleep(seconds):
        pauses.append(seconds)

    await supervised("sweep", work, clock=clock, sleep=sleep)
    assert pauses == [0.5, 1.0, 2.0, 0.5, 1.0]


async def test_cancelling_ends_it():
    task = asyncio.create_task(supervised("sweep", lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_a_task_is_logged_and_ends_nothing_else(caplog):
    tasks, ended = Tasks("a test's task"), []

    async def fails():
        raise ValueError(NAME)

    async def goes_on():
        await asyncio.sleep(0.05)
        ended.append(True)

    tasks.run(goes_on())
    tasks.run(fails())
    await asyncio.sleep(0.1)
    assert ended and not tasks
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and "a test's task failed: ValueError" in record.message
    assert NAME not in record.message
    waits = tasks.run(asyncio.sleep(60))
    tasks.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    assert waits.cancelled() and not tasks and len(caplog.records) == 1


async def test_what_blocks_is_waited_for_beside_the_loop_and_not_for_ever():
    release = threading.Event()
    began = time.monotonic()
    assert await off_the_loop(lambda: time.sleep(0.05), 10, "quick") is True
    assert await off_the_loop(lambda: release.wait(60), 0.2, "slow") is False
    assert time.monotonic() - began < 30
    with pytest.raises(ZeroDivisionError):
        await off_the_loop(lambda: 1 / 0, 10, "wrong")
    release.set()


async def test_a_thread_that_cannot_be_had_is_tried_for_again(monkeypatch):
    start, refusals, ran = threading.Thread.start, 2, []

    def scarce(self):
        nonlocal refusals
        if self.name == "wanted" and refusals:
            refusals -= 1
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    assert await off_the_loop(lambda: ran.append(True), 10, "wanted") is True
    assert ran and refusals == 0
    refusals = 10**6
    assert await off_the_loop(lambda: ran.append(True), 0.3, "wanted") is False
    assert len(ran) == 1


def _failure_count(metrics: Metrics, part: str) -> float:
    return metrics.registry.get_sample_value("hime_failures_total", {"part": part}) or 0.0


class Sweeping:
    """Rooms whose participants never had a network."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(sweep, "SWEEP_INTERVAL", 0.02)
        monkeypatch.setattr(rooms_module, "find_h264", lambda: "libx264")
        self.metrics = Metrics()
        self.rooms = Rooms(Settings(_env_file=None, remember_s=0), self.metrics)

    def come(self, room: str, name: str, is_lost) -> Participant:
        place = self.rooms._room(room)
        participant = Participant(name, place.people_for(name))
        participant.session = SimpleNamespace(on_over=None, is_lost=is_lost, id="s")
        participant.stats = lambda: {}
        place.enter(participant)
        return participant

    async def until(self, condition):
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end
            await asyncio.sleep(0.01)


def _fails():
    raise KeyError(NAME)


async def test_one_participants_error_does_not_keep_the_others_from_being_swept(monkeypatch, caplog):
    stage = Sweeping(monkeypatch)
    stage.come("r", "ann", _fails)
    stage.come("r", "bob", lambda: True)
    stage.come("s", "cem", lambda: True)
    await stage.until(lambda: not stage.rooms.get("s") and len(stage.rooms.get("r").participants) == 1)
    assert list(stage.rooms.get("r").participants) == ["ann"]  # it cannot be told that it is lost: its call goes on
    assert _failure_count(stage.metrics, "room") >= 1
    assert NAME not in caplog.text
    await stage.rooms.close()


async def test_one_rooms_figures_do_not_keep_the_others_from_being_told(monkeypatch):
    stage = Sweeping(monkeypatch)
    monkeypatch.setattr(sweep, "STATS_INTERVAL", 0.15)
    ann, _ = stage.come("r", "ann", lambda: False), stage.come("s", "bob", lambda: False)
    ann.stats, ann.joined = _fails, True
    listening = stage.rooms.listen("s").events
    stage.rooms.listen("r")
    event = await asyncio.wait_for(anext(listening), 20)
    assert event.name == "stats"
    assert _failure_count(stage.metrics, "room") >= 1
    await stage.rooms.close()


async def test_a_sweep_that_ends_by_an_error_begins_again(monkeypatch):
    stage = Sweeping(monkeypatch)
    errors = [RuntimeError("of the sweep itself")]
    counting = stage.rooms._sweep.count_streams
    monkeypatch.setattr(stage.rooms._sweep, "count_streams", lambda: _raised(errors) or counting())
    stage.come("r", "ann", lambda: not errors)
    await stage.until(lambda: not stage.rooms.get("r"))
    assert _failure_count(stage.metrics, "sweep") == 1
    await stage.rooms.close()


def _raised(errors):
    if errors:
        raise errors.pop()
