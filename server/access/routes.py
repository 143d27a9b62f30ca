"""Whether a token is needed, and where it comes from."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from server.access.guards import GuardedRoute, Minter, forbidden
from server.access.invitation import MAX_MINUTES, invitation
from server.access.tokens import MAX_PERSONS, Grant, Token
from server.problems import NAME_PATTERN, Problem, problem_docs

router = APIRouter(tags=["access"], route_class=GuardedRoute)

NameIn = Annotated[str, Field(pattern=NAME_PATTERN)]


class AccessInfo(BaseModel):
    tokens: bool = Field(description="whether a token is needed")
    open_to_all: bool = Field(description="whether it is not, and other machines are let in all the same")
    cluster: bool = Field(description="whether it is of several nodes: /api/rooms/{room}/node tells which has a room")


class TokenRequest(BaseModel):
    """admin, persons: by an API key alone."""

    room: NameIn
    name: NameIn = Field(description="whom it is for; the token's `sub`")
    publish: bool = True
    watch: bool = True
    admin: bool = Field(False, description="may invite to the room, and see everybody's bank there")
    persons: list[NameIn] = Field(
        [], max_length=MAX_PERSONS, description="who else's photos its stream may use; takes a key with `people` too"
    )
    minutes: int = Field(60, ge=1, le=MAX_MINUTES)


class MintedToken(BaseModel):
    token: str
    url: str = Field(description="the invitation: the page, which takes the token from the fragment")
    expires_at: datetime


@router.get("/api/access", summary="Whether a token is needed", response_model=AccessInfo)
async def access(request: Request) -> AccessInfo:
    there, cluster = request.app.state.relay.access, hasattr(request.app.state, "node")
    return AccessInfo(tokens=there.needed, open_to_all=there.open_to_all, cluster=cluster)


@router.post(
    "/api/tokens",
    status_code=201,
    summary="Make a room token",
    description="By an API key; or by a room token with roomAdmin, for guests of its room and no longer than itself.",
    response_model=MintedToken,
    responses=problem_docs(400, 404),
)
async def mint(request: Request, response: Response, wanted: TokenRequest, caller: Minter) -> MintedToken:
    if lacking := caller.lacks_minting(wanted.room):
        raise forbidden(request, lacking)
    expires, guest = time.time() + 60 * wanted.minutes, False
    if caller.key is not None:
        signs = caller.key.name
        if wanted.persons and (lacking := caller.lacks("people")):
            raise forbidden(request, lacking)
    elif caller.token is not None:
        signs, expires = caller.token.key, min(expires, caller.token.expires)
        guest = caller.token.guest or caller.subject != wanted.name
        if wanted.admin or wanted.persons:
            raise forbidden(request, "admin and persons are given by an API key alone.")
    else:
        raise Problem(404, "This relay has no API keys, so that it knows no tokens.", kind="no-tokens")
    grant = Grant(wanted.room, publish=wanted.publish, watch=wanted.watch, admin=wanted.admin)
    made = Token(signs, wanted.name, grant, expires, frozenset(wanted.persons), guest)
    token = request.app.state.relay.access.tokens.mint(made)
    response.headers["Cache-Control"] = "no-store"
    return MintedToken(
        token=token,
        url=invitation(str(request.base_url), wanted.room, token),
        expires_at=datetime.fromtimestamp(int(expires), UTC),
    )
