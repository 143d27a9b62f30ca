"""What the API tells of rooms."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from server.access.guards import BankViewer, GuardedRoute, RoomViewer
from server.observability.events import EventStream
from server.problems import Name, Problem, problem_docs
from server.rooms.bank import Bank
from server.rooms.rooms import Rooms

router = APIRouter(route_class=GuardedRoute)


@router.get("/api/rooms/{room}", tags=["rooms"], summary="Who is there", responses=problem_docs(400))
async def describe(request: Request, room: Name, caller: RoomViewer) -> dict[str, Any]:
    """The participants by name and their state; a room that nobody is in has none. `face`, where one is in view: from
    how many `exemplars` the largest is enhanced, or the `reason` why it is not. `content`: `screen` where one is
    shared. `refused`, where there is any: by name, why what a publisher sends is left out: `pixels`, `size_changes`,
    `frame_rate` or `no_media`. `reconnecting`, where there are any: the names of publishers whose network is lost, and
    whom watchers wait for."""
    return told_of_room(request, room)


def told_of_room(request: Request, room: str) -> dict[str, Any]:
    found = _rooms(request).get(room)
    if found is None:
        return {"room": room, "participants": {}}
    told = {"refused": found.refusals(), "reconnecting": found.reconnecting}
    return {"room": room, "participants": found.stats()} | {key: value for key, value in told.items() if value}


@router.get(
    "/api/rooms/{room}/events",
    tags=["rooms"],
    summary="Who comes and goes, and the figures of each second",
    response_class=EventSourceResponse,
    responses=problem_docs(400, 503),
)
async def events(request: Request, room: Name, caller: RoomViewer) -> EventSourceResponse:
    """Server-sent events: `joined` for everyone who is there, who comes, and who comes back or takes over a name;
    `reconnecting` where a publisher's network is lost: watchers keep their sessions, until `joined` or `left` follows;
    `left`; `refused` where a publisher's session is ended because of what it sends; and `stats` each second."""
    return events_of(request, room)


def events_of(request: Request, room: str) -> EventStream:
    """Raises Problem 503 where there are too many listeners."""
    listening = _rooms(request).listen(room)

    async def sent() -> AsyncIterator[ServerSentEvent]:
        async for event in listening:
            yield ServerSentEvent(json.dumps(event.data), event=event.name)

    return EventStream(sent(), listening)


@router.get(
    "/api/rooms/{room}/{participant}/bank",
    tags=["rooms"],
    summary="Who is known in a participant's picture, and from what",
    response_model=Bank,
    responses=problem_docs(400, 404, 503),
)
async def bank(request: Request, room: Name, participant: Name, caller: BankViewer) -> Bank:
    """The exemplars that faces are enhanced with, each with a thumbnail, the people whom they show, and the faces that
    are in the picture now."""
    found = _rooms(request).get(room)
    one = found.participants.get(participant) if found else None
    if one is None:
        raise Problem(404, "There is no such participant in the room.", kind="no-such-participant")
    limits = _rooms(request).limits
    place = limits.admission.bank()
    try:
        async with limits.bank_turn:
            return await asyncio.to_thread(one.bank)
    finally:
        place.release()


def _rooms(request: Request) -> Rooms:
    rooms: Rooms = request.app.state.relay.rooms
    return rooms
