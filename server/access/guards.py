"""What routes need of their caller: `caller: Publisher` as a parameter of the route.

The router's `route_class` is GuardedRoute, so that nothing of a body is read of a caller who is refused.
"""
# No `from __future__ import annotations`: FastAPI cannot resolve text annotations of Guard.__call__.

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPBase

from server.access.access import Refused
from server.access.caller import KINDS, Caller

Rule = Callable[[Caller, Request], str | None]  # what the caller lacks, in one sentence

# For the OpenAPI document; Access reads the header.
TOKEN = HTTPBearer(
    scheme_name="token",
    bearerFormat="JWT",
    auto_error=False,
    description="A room token, or an API key as `name:secret` or `secret`. Not needed where the relay has no keys.",
)
KEY = HTTPBase(scheme="basic", scheme_name="key", auto_error=False, description="An API key's name and secret.")


class Guard:
    """A dependency that gives the caller, where the rule finds nothing lacking."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    async def __call__(
        self, request: Request, token: Annotated[object, Depends(TOKEN)], key: Annotated[object, Depends(KEY)]
    ) -> Caller:
        return await self.admit(request)

    async def admit(self, request: Request) -> Caller:
        """Raises Refused: 401 where it is not known who asks, 403 where that one may not; both are counted."""
        if getattr(request.state, "admitted_by", None) is self:
            admitted: Caller = request.state.caller
            return admitted
        relay = request.app.state.relay
        address = request.client.host if request.client else ""
        try:
            caller: Caller = await relay.access.caller(request.headers.get("authorization"), address)
        except Refused as refused:
            relay.metrics.refused(refused.reason)
            raise
        if lacking := self.rule(caller, request):
            raise forbidden(request, lacking)
        request.state.caller, request.state.admitted_by = caller, self
        return caller


class AskingGuard:
    """As a Guard; but who shows nothing passes as None, as a browser asks before it sends a page's token (CORS)."""

    def __init__(self, rule: Rule) -> None:
        self._guard = Guard(rule)

    async def __call__(
        self, request: Request, token: Annotated[object, Depends(TOKEN)], key: Annotated[object, Depends(KEY)]
    ) -> Caller | None:
        return await self.admit(request)

    async def admit(self, request: Request) -> Caller | None:
        """Raises Refused, as a Guard does."""
        if request.app.state.relay.access.needed and "authorization" not in request.headers:
            return None
        return await self._guard.admit(request)


class GuardedRoute(APIRoute):
    """Asks the route's guards before FastAPI reads the body, which it does before it asks any dependency."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        guards = [one.call for one in self.dependant.dependencies if isinstance(one.call, Guard | AskingGuard)]

        async def guarded(request: Request) -> Response:
            for guard in guards:
                await guard.admit(request)
            if redirected := getattr(request.app.state, "redirected", None):  # of several nodes, another may be meant
                elsewhere: Response | None = await redirected(request)
                if elsewhere is not None:
                    return elsewhere
            return await handler(request)

        return guarded


def forbidden(request: Request, lacking: str) -> Refused:
    """403, counted. lacking: what is missing, in one sentence."""
    request.app.state.relay.metrics.refused("forbidden")
    return Refused(403, "forbidden", lacking, kind=KINDS.get(lacking, "forbidden"))


def _publish(caller: Caller, request: Request) -> str | None:
    lacking = caller.lacks_publish(_path(request, "room"), _path(request, "participant"))
    persons = request.query_params.getlist("person")
    return lacking or next(filter(None, map(caller.lacks_use_of, persons)), None)


def _watch(caller: Caller, request: Request) -> str | None:
    return caller.lacks_watch(_path(request, "room"))


def _membership(caller: Caller, request: Request) -> str | None:
    return caller.lacks_membership(_path(request, "room"))


def _path(request: Request, name: str) -> str:
    return str(request.path_params[name])


# What each is called after is what the caller may do.
Anyone = Annotated[Caller, Depends(Guard(lambda caller, request: None))]  # with any token or key
Observer = Annotated[Caller, Depends(Guard(lambda caller, request: caller.lacks("observe")))]
Minter = Annotated[Caller, Depends(Guard(lambda caller, request: caller.lacks_minting()))]
Publisher = Annotated[Caller, Depends(Guard(_publish))]
Watcher = Annotated[Caller, Depends(Guard(_watch))]
Member = Annotated[Caller, Depends(Guard(_membership))]
AskingPublisher = Annotated[Caller | None, Depends(AskingGuard(_publish))]
AskingWatcher = Annotated[Caller | None, Depends(AskingGuard(_watch))]
AskingMember = Annotated[Caller | None, Depends(AskingGuard(_membership))]
RoomViewer = Annotated[Caller, Depends(Guard(lambda caller, request: caller.lacks_view(_path(request, "room"))))]
BankViewer = Annotated[
    Caller,
    Depends(
        Guard(lambda caller, request: caller.lacks_bank(_path(request, "room"), _path(request, "participant"))),
    ),
]
PhotoOwner = Annotated[Caller, Depends(Guard(lambda caller, request: caller.lacks_photos(_path(request, "person"))))]
