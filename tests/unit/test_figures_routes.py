"""The figures over HTTP: ranges, single streams, tables."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
import time
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from server.app import create_app
from server.observability.kept import Row
from server.settings import Settings
from tests.unit.enhancer_stage import ByColour
from tests.unit.relay_fakes import FakeDetector, FakeEngine


@pytest.fixture
async def relay(tmp_path: Path):
    settings = Settings(_env_file=None, data=tmp_path / "data", client=tmp_path / "dist")
    app = create_app(settings, FakeEngine(), FakeDetector(), ByColour())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield app.state.relay, client


async def test_the_last_hour_and_day_are_those_that_were_kept(relay) -> None:
    parts, client = relay
    now = int(time.time())
    parts.kept.add(
        [Row(now - 7200, 0, {"fps_in": 1.0}), Row(now - 60, 0, {"fps_in": 2.0}), Row(now - 60, 3, {"kbps": 9})]
    )

    async def told(path: str) -> list[dict[str, float]]:
        answer = (await client.get(path)).json()
        assert answer["interval_s"] == 60
        return [{name: value for name, value in point.items() if name != "t"} for point in answer["points"]]

    assert await told("/api/stats?range=hour") == [{"fps_in": 2.0}]
    assert await told("/api/stats?range=day") == [{"fps_in": 1.0}, {"fps_in": 2.0}]
    assert await told("/api/stats/streams/3") == [{"kbps": 9}]
    assert await told("/api/stats/streams/4") == []
    table = await client.get("/api/stats.csv?range=day&stream=3")
    assert (
        table.headers["content-type"].startswith("text/csv") and "hime-day.csv" in table.headers["content-disposition"]
    )
    assert [row["kbps"] for row in csv.DictReader(io.StringIO(table.text))] == ["9"]


async def test_the_last_minutes_as_a_table(relay) -> None:
    parts, client = relay
    while len(parts.metrics.history.points()) < 2:
        await asyncio.sleep(0.1)
    rows = list(csv.DictReader(io.StringIO((await client.get("/api/stats.csv")).text)))
    assert len(rows) > 1 and {"t", "frame_latency.p95", "outcomes.enhanced", "machine.cpu_cores"} <= set(rows[0])


@pytest.mark.parametrize(
    "path", ["/api/stats?range=year", "/api/stats.csv?stream=3", "/api/stats/streams/x", "/api/stats/streams/0"]
)
async def test_what_makes_no_sense_is_refused_in_words(relay, path: str) -> None:
    refused = await relay[1].get(path)
    assert 400 <= refused.status_code < 500 and refused.json()["detail"]


async def test_what_cannot_be_read_is_said_and_the_last_minutes_go_on(relay) -> None:
    parts, client = relay
    parts.kept = None
    assert (await client.get("/api/stats?range=hour")).status_code == 503
    assert (await client.get("/api/stats")).status_code == 200


class Looked(dict):
    """A point that notes in which threads it is written out, and how many are at a time."""

    threads: ClassVar[list[int]] = []
    now = most = 0

    def items(self):
        Looked.threads.append(threading.get_ident())
        Looked.now += 1
        Looked.most = max(Looked.most, Looked.now)
        time.sleep(0.05)
        Looked.now -= 1
        return super().items()


async def test_figures_are_written_out_beside_the_loop_one_request_at_a_time(relay, monkeypatch) -> None:
    parts, client = relay
    point = {"t": 60.0, "fps_in": 2.0, "stages": {"decode": {"p95": None}}}
    monkeypatch.setattr(Looked, "threads", [])
    monkeypatch.setattr(parts.kept, "read", lambda after, stream: [Looked(point)])
    monkeypatch.setattr(parts.metrics.history, "points", lambda: [Looked(point)])
    paths = ["/api/stats?range=day", "/api/stats", "/api/stats/streams/3", "/api/stats.csv?range=day", "/api/stats.csv"]
    answers = await asyncio.gather(*(client.get(path) for path in paths * 2))
    for path, answer in zip(paths * 2, answers, strict=True):
        if ".csv" in path:
            assert answer.text == "t,fps_in,stages.decode.p95\r\n60.0,2.0,\r\n"
        else:
            assert answer.headers["content-type"] == "application/json"
            assert answer.json() == {"interval_s": 1 if path == "/api/stats" else 60, "points": [point]}
    assert len(Looked.threads) == len(answers) and threading.get_ident() not in Looked.threads
    assert Looked.most == 1


async def test_figures_that_are_no_numbers_are_not_told_as_if_they_were_json(relay, monkeypatch) -> None:
    parts, client = relay
    monkeypatch.setattr(parts.metrics.history, "points", lambda: [{"t": 1.0, "fps_in": float("nan")}])
    with pytest.raises(ValueError, match="JSON"):
        await client.get("/api/stats")


async def test_a_whole_day_is_one_json_document(relay, monkeypatch) -> None:
    parts, client = relay
    day = [{"t": 60.0 * n, "fps_in": 1.5} for n in range(1440)]
    monkeypatch.setattr(parts.kept, "read", lambda after, stream: day)
    assert json.loads((await client.get("/api/stats?range=day")).content)["points"] == day
    monkeypatch.setattr(parts.kept, "read", lambda after, stream: [])
    assert (await client.get("/api/stats?range=day")).json() == {"interval_s": 60, "points": []}
