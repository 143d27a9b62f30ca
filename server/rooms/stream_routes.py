"""The running streams, for the dashboard."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel

from server.access.caller import Caller
from server.access.guards import Anyone, GuardedRoute
from server.rooms.streams import StreamTold

router = APIRouter(tags=["observability"], route_class=GuardedRoute)


class Streams(BaseModel):
    streams: list[StreamTold]


@router.get(
    "/api/stats/streams",
    summary="The running streams and who watches them, by number; with names for those who may see them",
    response_model=Streams,
)
async def streams(request: Request, caller: Anyone) -> Streams:
    return Streams(streams=request.app.state.relay.rooms.streams(lambda room: may_see(caller, room)))


def may_see(caller: Caller, room: str) -> bool:
    """Whether names in a room are told: to keys with the right 'observe', to the room's admins, and where no token is
    asked for."""
    if caller.has("observe"):
        return True
    grant = caller.token.grant if caller.token else None
    return grant is not None and grant.admin and grant.room == room
