"""Errors as RFC 9457 problem bodies, and the names that paths may hold."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from server.exhaustion import RETRY_SECONDS, is_exhaustion
from server.problem_kinds import Kind, type_of

MEDIA_TYPE = "application/problem+json"
NAME_PATTERN = "^[A-Za-z0-9_-]{1,64}$"
NAME_RULE = "1 to 64 of the letters A-Z and a-z, digits, '_' and '-'"

log = logging.getLogger(__name__)

# For the parameters of routes: `room: Name`. A name that does not match answers 400.
Name = Annotated[str, Path(pattern=NAME_PATTERN, description=f"{NAME_RULE[0].upper()}{NAME_RULE[1:]}.")]


class Problem(HTTPException):
    """An error that the caller is told of; `members` are added to the body (RFC 9457, section 3.2): with the figures in
    them, a kind can be said in other words than `detail`."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: dict[str, str] | None = None,
        *,
        kind: Kind | None = None,
        **members: Any,
    ) -> None:
        super().__init__(status, detail, headers)
        self.kind, self.members = kind, members


class ProblemBody(BaseModel):
    """A problem body as RFC 9457 describes it."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Field("about:blank", examples=["/problems/name-taken"])
    title: str
    status: int
    detail: str


def is_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(NAME_PATTERN, name) is not None


def check_name(name: str, what: str = "name") -> str:
    """The name as it is. Raises Problem 400 where it is not a name; `what` says whose."""
    if not is_name(name):
        raise Problem(400, f"The {what} is not valid: it must be {NAME_RULE}.", kind="invalid-request")
    return name


def problem_response(
    status: int, detail: str, headers: Mapping[str, str] | None = None, *, kind: Kind | None = None, **members: Any
) -> JSONResponse:
    title = HTTPStatus(status).phrase
    body = {"type": type_of(kind), "title": title, "status": status, "detail": detail, **members}
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def problem_docs(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that may answer with these problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Makes every error of the application a problem body, in its answers and in its OpenAPI document."""
    app.add_exception_handler(StarletteHTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    for kind in (OSError, RuntimeError, MemoryError):
        app.add_exception_handler(kind, _exhausted)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(EncodedSlashes)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]


class EncodedSlashes:
    """Refuses `%2F` in a path: decoded, it would silently turn one name into two."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and b"%2f" in scope.get("raw_path", b"").lower():
            detail = f"A name in the path holds a slash (%2F): it must be {NAME_RULE}."
            answer = problem_response(400, detail, kind="invalid-request")
            await answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)


async def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    detail, members, headers = error.detail, getattr(error, "members", {}), error.headers
    kind: Kind | None = getattr(error, "kind", None)
    if detail == HTTPStatus(error.status_code).phrase:  # the router's own, which say nothing more
        if error.status_code == 404:
            kind = "no-such-path"
            detail = f"Nothing is at this path. A name in a path is {NAME_RULE}, and holds no slash."
        elif error.status_code == 405:
            kind = "method-not-allowed"
            allowed = ", ".join(sorted(_methods(request))) or (headers or {}).get("Allow", "GET")
            headers = {**(headers or {}), "Allow": allowed}
            detail = f"{request.method} is not possible at this path; {allowed} is. A name in a path holds no slash."
    return problem_response(error.status_code, str(detail), headers, kind=kind, **members)


def _methods(request: Request) -> set[str]:
    """What can be done at the request's path; the router itself tells of the first route there only."""
    paths = request.app.openapi()["paths"].items()
    there = [operations for path, operations in paths if compile_path(path)[0].match(request.scope["path"])]
    return {method.upper() for operations in there for method in operations}


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    """400 naming each parameter that is wrong; what was sent is not repeated, as it may be a person's name."""
    assert isinstance(error, RequestValidationError)
    errors = [
        {"in": str(item["loc"][0]), "name": ".".join(map(str, item["loc"][1:])), "detail": _sentence(item)}
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['name'] or item['in']}: {item['detail']}" for item in errors)
    return problem_response(400, detail, kind="invalid-request", errors=errors)


def _sentence(item: dict[str, Any]) -> str:
    if item.get("ctx", {}).get("pattern") == NAME_PATTERN:
        return f"must be {NAME_RULE}"
    return str(item["msg"]).removeprefix("Value error, ")


async def _exhausted(request: Request, error: Exception) -> JSONResponse:
    """503 where the machine has nothing left for something new; other errors go on to `_unexpected`."""
    if not is_exhaustion(error):
        raise error
    log.error("a request is refused: the machine has no more to give (%s)", type(error).__name__)
    request.app.state.relay.metrics.refused("exhausted")
    detail = "The relay has no room for this now; what runs goes on. Try again shortly."
    return problem_response(503, detail, {"Retry-After": str(RETRY_SECONDS)}, kind="exhausted")


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises the error again after this answer, so that the server logs it.
    detail = "The relay failed to answer this request; the service goes on."
    return problem_response(500, detail, kind="internal-error")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with FastAPI's own validation error replaced by what is answered here."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = ProblemBody.model_json_schema()
        for operation in (operation for path in document["paths"].values() for operation in path.values()):
            responses = operation["responses"]
            if "HTTPValidationError" in str(responses.get("422")):
                del responses["422"]
                responses.setdefault("400", problem_docs(400)[400])
            if operation.get("security"):
                responses.update({str(status): docs for status, docs in problem_docs(401, 403).items()})
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        app.openapi_schema = document
    return app.openapi_schema
