"""The front's HTTP: what it answers of all workers together, and what goes on to one of them.

Who may do what is asked here as the workers ask it, before anything is reserved or counted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import APIRouter, FastAPI, Request, Response
from sse_starlette import ServerSentEvent

from server.access.guards import (
    AskingMember,
    AskingPublisher,
    AskingWatcher,
    BankViewer,
    GuardedRoute,
    Member,
    PhotoOwner,
    Publisher,
    RoomViewer,
    Watcher,
)
from server.cluster.node import Node
from server.limits.admission import Admitted, no_more_rooms
from server.observability.events import EventStream
from server.problems import Name
from server.workers.forward import forwarded
from server.workers.process import Worker

if TYPE_CHECKING:
    from server.workers.front import Front

LOOK_WITHIN = 5.0  # seconds that a worker may take to tell who is in a room

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)


@router.get("/api/rooms/{room}")
async def describe(request: Request, room: Name, caller: RoomViewer) -> dict[str, Any]:
    told = await asyncio.gather(*(_room_of(worker, room) for worker in _front(request).fleet.there))
    merged: dict[str, Any] = {"room": room, "participants": {}}
    for one in told:
        merged["participants"].update(one.get("participants", {}))
        if refused := one.get("refused"):
            merged["refused"] = merged.get("refused", {}) | refused
        if lost := one.get("reconnecting"):
            merged["reconnecting"] = [*merged.get("reconnecting", []), *lost]
    return merged


@router.get("/api/rooms/{room}/events")
async def events(request: Request, room: Name, caller: RoomViewer) -> Response:
    front = _front(request)
    _check_room(front, room)
    listening = front.hub.listen(room)

    async def sent() -> AsyncIterator[ServerSentEvent]:
        async for event in listening:
            yield ServerSentEvent(json.dumps(event.data), event=event.name)

    return EventStream(sent(), listening)


@router.post("/whip/{room}/{participant}")
async def publish(request: Request, room: Name, participant: Name, caller: Publisher) -> Response:
    front, key = _front(request), (room, participant)
    front.drain.check()
    front.limits.sessions.take(_address(request))
    body = await request.body()
    _check_room(front, room)
    with front.places.publisher(key, video=b"\nm=video" in body) as admitted:
        worker = front.fleet.for_publisher(key)
        with front.fleet.pins.arriving(key, worker.number):
            answer = await forwarded(request, worker, body)
            if session := _session(answer, admitted):
                front.places.hold(session, worker.number, admitted, key)
    return answer


@router.post("/whep/{room}/{participant}")
async def watch(request: Request, room: Name, participant: Name, caller: Watcher) -> Response:
    front, key = _front(request), (room, participant)
    front.limits.sessions.take(_address(request))
    body = await request.body()
    worker = front.fleet.for_name(key)  # whom nobody has is watched nowhere: any answers so
    with front.places.watcher(key) as admitted:
        answer = await forwarded(request, worker, body)
        if session := _session(answer, admitted):
            front.places.hold(session, worker.number, admitted)
    return answer


@router.options("/whip/{room}/{participant}")
async def publish_options(request: Request, room: Name, participant: Name, caller: AskingPublisher) -> Response:
    return await _options(request, asked=caller is not None)


@router.options("/whep/{room}/{participant}")
async def watch_options(request: Request, room: Name, participant: Name, caller: AskingWatcher) -> Response:
    return await _options(request, asked=caller is not None)


@router.options("/api/rooms/{room}/check")
async def check_options(request: Request, room: Name, caller: AskingMember) -> Response:
    return await _options(request, asked=caller is not None)


@router.post("/api/rooms/{room}/check")
async def check(request: Request, room: Name, caller: Member) -> Response:
    front = _front(request)
    front.limits.sessions.take(_address(request))
    return await forwarded(request, front.fleet.any())


@router.api_route("/whip/{room}/{participant}/{session}", methods=["GET", "HEAD", "PATCH", "DELETE"])
@router.api_route("/whep/{room}/{participant}/{session}", methods=["GET", "HEAD", "PATCH", "DELETE"])
async def session(request: Request, room: Name, participant: Name, session: str, caller: Member) -> Response:
    return await forwarded(request, _front(request).fleet.for_name((room, participant)))


@router.get("/api/rooms/{room}/{participant}/bank")
async def bank(request: Request, room: Name, participant: Name, caller: BankViewer) -> Response:
    return await forwarded(request, _front(request).fleet.for_name((room, participant)))


@router.delete("/api/people/{person}")
@router.api_route("/api/people/{person}/exemplars", methods=["GET", "POST"])
@router.api_route("/api/people/{person}/exemplars/{id}", methods=["GET", "DELETE"])
async def photos(request: Request, person: Name, caller: PhotoOwner) -> Response:
    """Of several nodes, the others are told before it is answered. Raises Problem 503 where one does not answer."""
    answer = await forwarded(request, _front(request).fleet.keeper)
    node: Node | None = getattr(request.app.state, "node", None)
    if node is None or request.method not in ("POST", "DELETE") or answer.status_code >= 300:
        return answer
    if request.method == "POST":
        await node.added(person, [one["id"] for one in json.loads(bytes(answer.body))["exemplars"]])
    elif (id := request.path_params.get("id")) is not None:
        await node.forget(None, [id])
    else:
        await node.forget(person, [])
    return answer


def install_the_rest(app: FastAPI) -> None:
    """Whatever no route before has taken goes to any worker, also what is wrong: its answer says what would be right.
    To be called last."""

    async def rest(request: Request) -> Response:
        return await forwarded(request, _front(request).fleet.any())

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"]
    app.add_route("/{path:path}", rest, methods=methods, include_in_schema=False)


async def _options(request: Request, asked: bool) -> Response:
    front = _front(request)
    if asked:
        front.limits.questions.take(_address(request))
    return await forwarded(request, front.fleet.any())


async def _room_of(worker: Worker, room: str) -> dict[str, Any]:
    """Nothing of one that has just ended."""
    try:
        answer = await worker.control.get(f"/worker/rooms/{room}", timeout=LOOK_WITHIN)
        told: dict[str, Any] = answer.raise_for_status().json()
    except httpx.HTTPError:
        return {}
    return told


def _check_room(front: Front, room: str) -> None:
    """Raises Problem 503 where it would be one room too many."""
    rooms = front.fleet.pins.rooms | front.hub.rooms
    if room not in rooms and len(rooms) >= front.settings.max_rooms:
        front.metrics.refused("rooms")
        raise no_more_rooms(front.settings.max_rooms)


def _session(answer: Response, admitted: Admitted) -> str | None:
    """The id of the session that was made; where none was, its places are free again."""
    if answer.status_code == 201:
        return answer.headers["location"].rpartition("/")[2]
    admitted.release()
    return None


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _front(request: Request) -> Front:
    front: Front = request.app.state.relay
    return front
