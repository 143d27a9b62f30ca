"""The figures over HTTP: ranges, single streams, tables."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from pathlib import Path

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
