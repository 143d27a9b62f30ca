"""Where a request for a room is answered: 307 to the node that has it (RFC 9725, section 4.5)."""

from __future__ import annotations

import re

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel, Field

from server.access.guards import GuardedRoute, RoomViewer
from server.cluster.node import Node
from server.problems import NAME_PATTERN, Name, problem_docs

router = APIRouter(route_class=GuardedRoute, tags=["rooms"])

NODE = "/api/rooms/{room}/node"
# A room becomes a node's by these; by others it is looked for only.
CLAIMS = frozenset({("POST", "/whip/{room}/{participant}"), ("GET", "/api/rooms/{room}/events")})


class NodeTold(BaseModel):
    room: str
    node: str = Field(description="the origin of the node that has the room, and gets all that is asked about it")
    nodes: list[str] = Field(description="the origins of all nodes: any of them can be asked this when one is lost")


async def redirected(request: Request) -> Response | None:
    """The answer where another node has the room that is asked about. OPTIONS is answered anywhere: a browser's
    preflight request may not be redirected, and ICE servers are the same."""
    node: Node = request.app.state.node
    room, path = request.path_params.get("room"), request.scope["route"].path
    if room is None or path == NODE or request.method == "OPTIONS" or not re.fullmatch(NAME_PATTERN, room):
        return None
    claim = (request.method, path) in CLAIMS
    if claim:
        _count(request, node, room)
    owner = await node.owner(room, claim)
    if owner is None:
        return None
    target = request.scope["raw_path"] + (b"?" + query if (query := request.scope["query_string"]) else b"")
    return Response(
        status_code=307, headers={"Location": owner + target.decode("latin-1"), "Cache-Control": "no-store"}
    )


@router.get(NODE, summary="Which node has the room", response_model=NodeTold, responses=problem_docs(400, 429))
async def node_of(request: Request, response: Response, room: Name, caller: RoomViewer) -> NodeTold:
    """Of several nodes (`hime serve --cluster`). Where nobody is in the room yet, the node that will have it. Whoever
    shows a token asks here first: clients do not send it on to where a redirect leads."""
    node: Node = request.app.state.node
    response.headers["Cache-Control"] = "no-store"
    _count(request, node, room)
    return NodeTold(room=room, node=await node.owner(room, claim=True) or node.url, nodes=node.urls)


def _count(request: Request, node: Node, room: str) -> None:
    """Who asks for places for new rooms too often is refused. Raises Problem 429."""
    if not node.knows(room):
        request.app.state.relay.limits.questions.take(request.client.host if request.client else "")


def redirect_rooms(app: FastAPI, node: Node) -> None:
    """Has the application's guarded routes answer so."""
    app.state.node, app.state.redirected = node, redirected
    app.include_router(router)
