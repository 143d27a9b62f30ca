"""What a worker answers its front and the other workers, and nobody else."""

from __future__ import annotations

import hmac
from collections import deque
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel

from server.exemplars.service import ExemplarService
from server.observability.window import MACHINE, Window
from server.problems import Problem
from server.rooms.told import events_of, told_of_room
from server.workers.orders import SECRET_HEADER
from server.workers.report import Report, told_of

SECONDS = 5  # that are told again, should a report have been lost


class Photos(BaseModel):
    """person: None where a few photos are meant, and not all that is known of somebody."""

    person: str | None
    ids: list[str]


class Seconds:
    """What was counted in the last few seconds. Fed from any thread."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, Window]] = deque(maxlen=SECONDS)

    def keep(self, second: int, window: Window) -> None:
        self._kept.append((second, window))

    def after(self, second: int) -> list[tuple[int, dict[str, Any]]]:
        """Without the machine's own figures, which are not those of several processes together."""
        told = [(at, window.told()) for at, window in list(self._kept) if at > second]
        for _, each in told:
            each["samples"] = {name: values for name, values in each["samples"].items() if name not in MACHINE}
        return told


def install(app: FastAPI, secret: str) -> None:
    """secret: what the front and the other workers show; to anybody else, nothing is here."""

    def trusted(request: Request) -> None:
        if not hmac.compare_digest(request.headers.get(SECRET_HEADER, "").encode(), secret.encode()):
            raise Problem(404, "Nothing is at this path.", kind="no-such-path")

    router = APIRouter(prefix="/worker", include_in_schema=False, dependencies=[Depends(trusted)])
    seconds = Seconds()

    @router.get("/report")
    async def report(request: Request, after: int = 0, others: int = 0) -> Report:
        """others: how deep the other workers' streams have stepped down."""
        relay = request.app.state.relay
        relay.load.others = others
        relay.metrics.history.on_second = seconds.keep
        relay.metrics.history.until_now()
        return _report(relay, seconds.after(after))

    @router.get("/ready")
    async def ready(request: Request) -> list[str]:
        reasons: list[str] = await request.app.state.relay.reasons()
        return reasons

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        return Response(await request.app.state.relay.exposition(), media_type="text/plain")

    @router.get("/rooms/{room}")
    async def room(request: Request, room: str) -> dict[str, Any]:
        return told_of_room(request, room)

    @router.get("/rooms/{room}/events")
    async def events(request: Request, room: str) -> Response:
        return events_of(request, room)

    @router.delete("/rooms/{room}")
    async def give_up(request: Request, room: str) -> bool:
        """Another node has the room; whether it has ended here now."""
        ended: bool = request.app.state.relay.rooms.give_up(room)
        return ended

    @router.post("/photos/added", status_code=204)
    async def added(photos: Photos, service: Annotated[ExemplarService, Depends(_service)]) -> None:
        if photos.person is not None:
            await service.use(photos.person, photos.ids)

    @router.post("/photos/forgotten", status_code=204)
    async def forgotten(photos: Photos, service: Annotated[ExemplarService, Depends(_service)]) -> None:
        await service.forget_here(photos.person, photos.ids)

    @router.post("/photos/compared", status_code=204)
    async def compared(service: Annotated[ExemplarService, Depends(_service)]) -> None:
        await service.compare_with_storage()

    app.include_router(router)


def _service(request: Request) -> ExemplarService:
    service: ExemplarService = request.app.state.relay.exemplars
    return service


def _report(relay: Any, seconds: list[tuple[int, dict[str, Any]]]) -> Report:
    rooms = {room.name: told_of(room) for room in relay.rooms.everywhere}
    admission, usage = relay.limits.admission, relay.metrics.used
    return Report(
        rooms={name: told for name, told in rooms.items() if told.names or told.remembered},
        streams=relay.rooms.streams(lambda room: True),
        bank=relay.metrics.history.bank_exemplars,
        most_streams=admission.streams.in_all,
        most_watchers=admission.watchers.in_all,
        memory_mib=usage.memory_mib,
        cpu_cores=usage.cpu_cores,
        reasons=relay.known_reasons,
        recogniser=relay.recogniser.name if relay.recogniser else None,
        seconds=seconds,
        cost=relay.load.cost,
        full=relay.load.full,
        stepped=relay.load.stepped,
        rungs=relay.metrics.history.rungs,
    )
