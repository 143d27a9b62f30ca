"""Liveness, readiness, Prometheus, and the dashboard's data."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from sse_starlette import EventSourceResponse

from server.access.guards import Anyone, GuardedRoute, Observer
from server.observability.events import EventStream
from server.observability.history import History
from server.observability.kept import DAY, EVERYTHING, KeptMinutes
from server.observability.table import as_csv
from server.problems import Problem, problem_docs

router = APIRouter(tags=["observability"], route_class=GuardedRoute)

SPANS = {"hour": 60 * 60, "day": DAY}  # seconds
EVENTS: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}


class Health(BaseModel):
    status: str


class WorkerReadiness(BaseModel):
    """One worker process. reasons: why it is not ready."""

    number: int
    state: Literal["starting", "ready", "full", "ending", "down"] = Field(
        description="`full`: it has as much memory as a worker may, and takes nobody new; `down`: it has ended, and is "
        "started again"
    )
    reasons: list[str]


class Readiness(BaseModel):
    """status: ready, not ready, or draining, where the relay is about to end. reasons: what is missing, one sentence
    each; empty when ready, as with one worker of several that is. recogniser: what tells whose face it is, null
    where nothing does. workers: with `--workers` from 2 on."""

    status: str
    reasons: list[str]
    recogniser: str | None
    workers: list[WorkerReadiness] = []


class Percentiles(BaseModel):
    """Milliseconds over one second's samples; null without any."""

    p50: float | None
    p95: float | None
    p99: float | None
    count: int


class Machine(BaseModel):
    """Means over the stretch; null where it cannot be told. cpu_cores: that the relay kept busy; cpu_share,
    gpu_share: of the whole machine and of the first graphics card, 0 to 1."""

    cpu_cores: float | None
    cpu_share: float | None
    memory_mib: float | None
    gpu_share: float | None
    gpu_memory_mib: float | None


class Short(BaseModel):
    """How short the machine is, means over the stretch, 0 to 1; null where it cannot be told. late: share of watched
    frames that came late or were lost; stalled: of the time in which somebody waited for a processor."""

    late: float | None = None
    stalled: float | None = None


class Point(BaseModel):
    """One second, or one minute. t: when it began (Unix seconds); a stage without samples is absent. Counts are those
    of the whole stretch, `fps_…` a second's; rungs: streams on each rung of the ladder, at its end."""

    t: float
    stages: dict[str, Percentiles]
    frame_latency: Percentiles
    fps_in: float
    fps_out: float
    outcomes: dict[str, int]
    bypass: dict[str, int]
    demand: dict[str, int]
    recognition: dict[str, int]
    bank: dict[str, int] = {}  # minutes of earlier versions lack it
    batch_size: float | None
    bank_exemplars: int
    reference_gap_s: float | None
    quantizer_step: float | None
    short: Short = Short()  # these two, too
    rungs: dict[str, int] = {}
    machine: Machine
    streams: dict[str, int]


class Stats(BaseModel):
    interval_s: int
    points: list[Point]


class StreamPoint(BaseModel):
    """One minute of one stream: rates as they were at its end, outcomes over it. kbps: to all its watchers together;
    loss: the worst watcher's, 0 to 1."""

    t: float
    fps_in: float
    fps_out: float
    latency_ms: float | None
    outcomes: dict[str, int]
    exemplars: int
    watchers: int
    kbps: float
    loss: float


class StreamStats(BaseModel):
    interval_s: int
    points: list[StreamPoint]


Range = Literal["minutes", "hour", "day"]
RANGE = "minutes: the last ten, second by second; hour, day: minute by minute, kept across restarts."
AskedRange = Annotated[Range, Query(alias="range", description=RANGE)]
KeptRange = Annotated[Literal["hour", "day"], Query(alias="range")]
StreamNumber = Annotated[int, Path(ge=1, le=2**31)]


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Liveness", response_model=Health)
async def healthz() -> dict[str, str]:
    return {"status": "alive"}


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Readiness, with the reasons where it is not ready",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not ready"}},
)
async def readyz(request: Request) -> JSONResponse:
    relay = request.app.state.relay
    reasons, workers = await relay.readiness()
    body = {
        "status": "draining" if relay.drain.seconds_left is not None else "not ready" if reasons else "ready",
        "reasons": reasons,
        "recogniser": relay.recogniser.name if relay.recogniser else None,
    }
    if workers:
        body["workers"] = [one.model_dump() for one in workers]
    return JSONResponse(body, 503 if reasons else 200)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, caller: Observer) -> Response:
    return Response(await request.app.state.relay.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.get(
    "/api/stats",
    summary="Figures of all streams together, oldest first",
    response_model=Stats,
    responses=problem_docs(503),
)
async def stats(request: Request, caller: Anyone, span: AskedRange = "minutes") -> Response:
    text = await _written(request.app.state.relay, span, partial(_as_json, interval=1 if span == "minutes" else 60))
    return Response(text, media_type="application/json")


@router.get(
    "/api/stats/streams/{number}",
    summary="Figures of one stream, minute by minute, oldest first",
    response_model=StreamStats,
    responses=problem_docs(503),
)
async def stream_stats(
    request: Request, caller: Anyone, number: StreamNumber, span: KeptRange = "hour"
) -> Response:  # fmt: skip
    text = await _written(request.app.state.relay, span, partial(_as_json, interval=60), number)
    return Response(text, media_type="application/json")


@router.get(
    "/api/stats.csv",
    summary="The same figures as a table, of all streams or of one",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **problem_docs(400, 503)},
)
async def stats_csv(
    request: Request,
    caller: Anyone,
    span: AskedRange = "minutes",
    stream: Annotated[int, Query(ge=0, le=2**31, description="A stream's number; 0: all together.")] = EVERYTHING,
) -> Response:
    if stream != EVERYTHING and span == "minutes":
        detail = "A single stream's figures are kept minute by minute: ask for range=hour or range=day."
        raise Problem(400, detail, kind="figures-by-minute")
    text = await _written(request.app.state.relay, span, as_csv, stream)
    headers = {"Content-Disposition": f'attachment; filename="hime-{span}.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8; header=present", headers=headers)


async def _written(
    relay: Any, span: Range, write: Callable[[list[dict[str, Any]]], str], stream: int = EVERYTHING
) -> str:  # fmt: skip
    """The figures as text, made in a thread: a day's are work of some hundred milliseconds. Raises Problem 503 where
    what is kept cannot be read."""
    async with relay.limits.figures_turn:
        return await asyncio.to_thread(lambda: write(_figures(relay, span, stream)))


def _as_json(points: list[dict[str, Any]], interval: int) -> str:
    """Encoded one by one: in one go, they would keep all other threads from running for as long as it takes."""
    encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
    return f'{{"interval_s":{interval},"points":[{",".join(encode(point) for point in points)}]}}'


def _figures(relay: Any, span: Range, stream: int) -> list[dict[str, Any]]:
    """Blocks. Raises Problem 503."""
    history: History = relay.metrics.history
    if span == "minutes":
        return history.points()
    kept: KeptMinutes | None = relay.kept
    try:
        if kept is not None:
            return kept.read(history.now - SPANS[span], stream)
    except SQLAlchemyError:
        pass
    detail = "The figures of earlier minutes cannot be read now; range=minutes can."
    raise Problem(503, detail, {"Retry-After": "60"}, kind="figures-unavailable")


@router.get(
    "/api/stats/events",
    summary="One event `point` each second",
    response_class=EventSourceResponse,
    responses={
        200: {"content": EVENTS, "description": "Server-sent events whose data is a Point"},
        **problem_docs(503),
    },
)
async def stats_events(request: Request, caller: Anyone) -> EventSourceResponse:
    relay = request.app.state.relay
    place = relay.rooms.limits.admission.listener(None)
    return EventStream(_points(relay.metrics.history, relay.stopping), place)


async def _points(history: History, stopping: asyncio.Event) -> AsyncIterator[dict[str, str]]:
    last = max((point["t"] for point in history.points()), default=0.0)
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), history.until_next() + 0.01)
            return
        for point in history.points(after=last):
            last = point["t"]
            yield {"event": "point", "data": json.dumps(point, separators=(",", ":"))}
