"""What a worker tells its front twice a second, and what the front makes of it."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx

from server.app import Among, create_app
from server.exemplars.elsewhere import Nowhere
from server.load.cost import Cost
from server.load.processor import Processor
from server.observability.machine import Machine, Usage
from server.observability.metrics import Metrics
from server.observability.window import Window
from server.settings import Settings
from server.workers.control import install
from server.workers.fleet import Fleet
from server.workers.orders import SECRET_HEADER
from server.workers.report import Report
from server.workers.seconds import LATE, WAIT, MergedSeconds
from server.workers.worker import unix_clock
from tests.unit.enhancer_stage import ByColour
from tests.unit.relay_fakes import FakeDetector, FakeEngine


@asynccontextmanager
async def worker(data):
    """Its relay, and what asks it as the front does."""
    among = Among(itertools.count(1), Nowhere())
    app = create_app(Settings(data=data), FakeEngine(), FakeDetector(), ByColour(), among=among)
    install(app, "secret")
    transport, headers = httpx.ASGITransport(app), {SECRET_HEADER: "secret"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client,
    ):
        yield app.state.relay, client


class TestReport:
    async def test_the_machine_is_not_looked_at_in_the_event_loops_thread(self, tmp_path, monkeypatch):
        looks: list[threading.Thread] = []

        def look(machine):
            looks.append(threading.current_thread())
            return Usage(memory_mib=7.0)

        monkeypatch.setattr(Machine, "look", look)
        async with worker(tmp_path) as (_, client), asyncio.timeout(10):
            while (await client.get("/worker/report")).json()["memory_mib"] != 7.0:
                await asyncio.sleep(0.05)
        assert looks and threading.current_thread() not in looks

    async def test_a_worker_is_told_how_deep_the_others_have_stepped_down_and_tells_its_own(self, tmp_path):
        async with worker(tmp_path) as (relay, client):
            load = relay.load
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
