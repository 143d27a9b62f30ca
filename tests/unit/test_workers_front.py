"""What a front answers though no worker runs, and what it lets nobody do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx

from server.access.access import load_access
from server.load.capacity import USABLE
from server.load.cost import Cost
from server.observability.metrics import Metrics
from server.settings import Settings
from server.settings.processors import cores
from server.workers.front import create_front
from tests.unit.workers_world import report


@asynccontextmanager
async def front(tmp_path, **settings):
    """Whose workers end as soon as they are started."""
    given = Settings(data=tmp_path, client=tmp_path, workers=2, engine="worker", **settings)
    app = create_front(given, load_access(given), "server.settings.quoting")
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield client, app.state.relay


def test_a_front_loads_no_networks_and_nothing_that_carries_media():
    found = "import sys, server.workers.front; print({'torch', 'ncnn', 'av', 'aiortc'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", found], capture_output=True, text=True).stdout.strip() == "set()"


async def test_without_workers_each_request_has_an_answer(tmp_path):
    async with front(tmp_path) as (client, relay):
        for method, path in (("POST", "/whip/r/ann"), ("GET", "/openapi.json"), ("DELETE", "/api/people/ann")):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/no-worker"), path
            assert answer.headers["retry-after"] == "1"
        assert (await client.get("/api/rooms/r")).json() == {"room": "r", "participants": {}}
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
        assert ready.status_code == 503 and len(ready.json()["workers"]) == 2
        assert "hime_ready 0.0" in (await client.get("/metrics")).text
        assert relay.limits.admission.participants.taken == 0  # nobody holds a place in vain


async def test_wrong_names_and_foreign_pages_are_refused_as_by_a_single_relay(tmp_path):
    async with front(tmp_path) as (client, _):
        answer = await client.post("/whip/r/ann%20")
        assert answer.status_code == 400 and answer.json()["errors"][0]["name"] == "participant"
        answer = await client.post("/whip/r/ann", headers={"Origin": "https://elsewhere.example"})
        assert answer.status_code == 403
        answer = await client.get("/api/rooms/r", headers={"Host": "elsewhere.example"})
        assert answer.status_code == 421


async def test_who_may_not_publish_takes_no_place_and_no_worker(tmp_path):
    async with front(tmp_path, api_keys=f"web:{'x' * 32}") as (client, relay):
        for method, path in (("POST", "/whip/r/ann"), ("PATCH", "/whip/r/ann/1"), ("GET", "/api/people/ann/exemplars")):
            assert (await client.request(method, path)).status_code == 401, path
        assert relay.fleet.pins.of(("r", "ann")) is None


async def test_event_streams_end_with_the_front(tmp_path):
    async with front(tmp_path) as (_, relay):
        listening = relay.hub.listen("r")
        await asyncio.wait_for(relay.stop(), 10)
        assert [event.name async for event in listening] == ["draining"]
        assert relay.drain.seconds_left is not None and relay.stopping.is_set()


async def test_what_a_worker_counted_is_counted_once_though_it_ends_while_it_is_asked(tmp_path, monkeypatch):
    counted = Metrics()
    counted.frame("enhanced")

    class Ends:
        """Answers the first time, and ends with the second answer."""

        asked = 0

        async def get(self, path, timeout):
            self.asked += 1
            if self.asked == 2:
                worker.there, worker.state = False, "down"
                relay._gone(worker)
            return httpx.Response(200, content=counted.exposition(), request=httpx.Request("GET", "http://localhost"))

    worker = SimpleNamespace(number=1, pid=1, there=True, state="ready", report=None, control=Ends())
    async with front(tmp_path) as (client, relay):
        with monkeypatch.context() as patched:
            patched.setattr(relay.fleet, "workers", [worker])
            for _ in range(3):
                assert 'hime_frames_total{outcome="enhanced"} 1.0' in (await client.get("/metrics")).text


async def test_a_worker_is_asked_once_whether_it_is_ready(tmp_path, monkeypatch):
    asked = []

    async def get(path, timeout):
        asked.append(path)
        return httpx.Response(200, json=[], request=httpx.Request("GET", "http://localhost"))

    worker = SimpleNamespace(number=1, there=True, state="ready", report=None, control=SimpleNamespace(get=get))
    async with front(tmp_path) as (client, relay):
        with monkeypatch.context() as patched:
            patched.setattr(relay.fleet, "workers", [worker])
            answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["workers"]) == (200, [{"number": 1, "state": "ready", "reasons": []}])
    assert asked == ["/worker/ready"]


async def test_workers_learn_how_deep_the_others_have_stepped_down_and_places_follow_what_all_streams_cost(
    tmp_path, monkeypatch
):
    def worker(number: int, cores: float, streams: int, stepped: int, full: bool = False):
        told = report().model_copy(
            update={
                "cost": Cost(cores, 0.01, streams),
                "stepped": stepped,
                "full": full,
                "rungs": {"passed": streams},
            }
        )
        return SimpleNamespace(number=number, pid=number, there=True, state="ready", report=told, others=0)

    async with front(tmp_path) as (_, relay):
        with monkeypatch.context() as patched:
            one, two, three = worker(1, 0.2, 3, 2), worker(2, 0.4, 1, 3), worker(3, 0.5, 0, 0)
            patched.setattr(relay.fleet, "workers", [one, two, three])
            relay._reported(one, one.report, 0.0)
            assert [each.others for each in (one, two, three)] == [3, 2, 3]
            assert relay.limits.admission.streams.in_all == max(1, int(USABLE * cores() / 0.25))
            assert relay.metrics.history.rungs == {"passed": 4}
            for each in (one, two):
                each.report = each.report.model_copy(update={"full": True, "stepped": 0})
            relay._reported(one, one.report, 0.0)
            assert relay.limits.admission.streams.in_all > 1  # there is a worker that is not
            two.report = two.report.model_copy(update={"stepped": 4})  # for the machine's sake
            relay._reported(two, two.report, 0.0)
            assert relay.limits.admission.streams.in_all == 1 and not relay.limits.admission.streams.taken


async def test_numbers_set_by_hand_are_the_fronts_too(tmp_path, monkeypatch):
    async with front(tmp_path, max_streams=5, max_watchers=9) as (_, relay):
        told = report().model_copy(update={"cost": Cost(0.01, 0.001, 2), "full": True})
        worker = SimpleNamespace(number=1, pid=1, there=True, state="ready", report=told, others=0)
        with monkeypatch.context() as patched:
            patched.setattr(relay.fleet, "workers", [worker])
            relay._reported(worker, told, 0.0)
        assert (relay.limits.admission.streams.in_all, relay.limits.admission.watchers.in_all) == (5, 9)


async def test_a_rooms_events_that_a_worker_holds_back_are_counted_and_asked_for_again(tmp_path, monkeypatch):
    answers = [httpx.ReadTimeout("slow"), httpx.Response(503), httpx.ReadError("dead")]
    joined = b'event: joined\ndata: {"participant": "ann"}\n\n'

    def answer(request):
        given = answers.pop(0) if answers else httpx.Response(200, content=joined)
        if isinstance(given, Exception):
            raise given
        return given

    control = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://localhost")
    worker = SimpleNamespace(number=1, there=True, state="ready", report=None, control=control)
    async with front(tmp_path) as (_, relay), control:
        monkeypatch.setattr(relay.hub, "_workers", [worker])
        listening = relay.hub.listen("r")
        event = await asyncio.wait_for(anext(aiter(listening)), 10)
        assert event.name == "joined" and not answers
        counted = relay.metrics.exposition().decode()
        assert 'hime_failures_total{part="events"} 2.0' in counted
        listening.release()


async def test_what_an_engine_process_takes_is_in_the_sums_and_stays_there(tmp_path):
    async with front(tmp_path) as (client, relay):
        alone = await used(client)
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        relay.fleet.engines = SimpleNamespace(pids=[busy.pid])
        try:
            while await used(client) < alone + 0.5:
                await asyncio.sleep(0.1)
        finally:
            busy.kill()
            busy.wait()
        assert await used(client) >= alone + 0.5  # before it is known that it has ended
        relay.fleet.engines = SimpleNamespace(pids=[])
        assert await used(client) >= alone + 0.5


async def used(client: httpx.AsyncClient) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("process_cpu_seconds_total"))
