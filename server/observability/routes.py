"""Liveness, readiness, Prometheus, and the dashboard's data."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel
from sse_starlette import EventSourceResponse

from server.access.guards import Anyone, GuardedRoute, Observer
from server.observability.events import EventStream
from server.observability.history import History
from server.problems import problem_docs

router = APIRouter(tags=["observability"], route_class=GuardedRoute)

EVENTS: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}


class Health(BaseModel):
    status: str


class Readiness(BaseModel):
    """status: ready, not ready, or draining, where the relay is about to end. reasons: what is missing, one sentence
    each; empty when ready. recogniser: what tells whose face it is, null
    where nothing does."""

    status: str
    reasons: list[str]
    recogniser: str | None


class Percentiles(BaseModel):
    """Milliseconds over one second's samples; null without any."""

    p50: float | None
    p95: float | None
    p99: float | None
    count: int


class Point(BaseModel):
    """One second. t: when it began (Unix seconds); a stage without samples is absent."""

    t: float
    stages: dict[str, Percentiles]
    frame_latency: Percentiles
    fps_in: float
    fps_out: float
    outcomes: dict[str, int]
    bypass: dict[str, int]
    demand: dict[str, int]
    recognition: dict[str, int]
    batch_size: float | None
    bank_exemplars: int
    reference_gap_s: float | None
    quantizer_step: float | None
    streams: dict[str, int]


class Stats(BaseModel):
    interval_s: int
    points: list[Point]


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
    reasons = await relay.reasons()
    body = {
        "status": "draining" if relay.drain.seconds_left is not None else "not ready" if reasons else "ready",
        "reasons": reasons,
        "recogniser": relay.recogniser.name if relay.recogniser else None,
    }
    return JSONResponse(body, 503 if reasons else 200)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, caller: Observer) -> Response:
    relay = request.app.state.relay
    relay.metrics.set_ready(not await relay.reasons())
    return Response(relay.metrics.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.get("/api/stats", summary="The last ten minutes, second by second, oldest first", response_model=Stats)
async def stats(request: Request, caller: Anyone) -> JSONResponse:
    return JSONResponse({"interval_s": 1, "points": request.app.state.relay.metrics.history.points()})


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
