"""What a page's connection test asks of the relay."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from server.access.guards import AskingMember, GuardedRoute, Member
from server.problems import Name, problem_docs
from server.rooms.rooms import Rooms
from server.rooms.routes import SDP, SDP_IN, answered, endpoint_options, offer_of

router = APIRouter(route_class=GuardedRoute)

_ANSWERED: dict[int | str, dict[str, Any]] = {
    201: {"description": "The SDP answer", "content": {SDP: {"schema": {"type": "string"}}}}
}


@router.post(
    "/api/rooms/{room}/check",
    status_code=201,
    tags=["media"],
    summary="Test the way to the relay",
    responses={**_ANSWERED, **problem_docs(400, 408, 413, 415, 429, 503)},
    openapi_extra=SDP_IN,
)
async def check(request: Request, room: Name, caller: Member) -> Response:
    """Answers an offer, with all its candidates, by a connection that carries no media, shows to nobody in the room,
    and ends after ten seconds. For whoever may join the room; `OPTIONS` names the ICE servers."""
    rooms: Rooms = request.app.state.relay.rooms
    session = await answered(request, rooms.checks.answer(caller.subject, await offer_of(request)))
    return Response(session.answer, 201, media_type=SDP)


@router.options("/api/rooms/{room}/check", status_code=204, include_in_schema=False)
async def check_options(request: Request, room: Name, caller: AskingMember) -> Response:
    return endpoint_options(request, caller, "OPTIONS, POST")
