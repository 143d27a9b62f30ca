"""The web's own rules around an application."""

from __future__ import annotations

from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from server.access.origins import Allowed
from server.limits.bodies import BodyLimit
from server.settings import Settings
from server.web.headers import SecurityHeaders
from server.web.origins import HostCheck, OriginCheck, known_hosts

SMALL_BODY = 1_000_000  # bytes; an SDP offer is some ten kilobytes


def install(
    app: FastAPI,
    settings: Settings,
    refused: Callable[[str], None],
    before: Callable[[str, str], None] = lambda path, address: None,
    nodes: Collection[str] | None = None,
) -> None:
    """To be called after every other middleware is added, so that these come before them. refused: counts a reason;
    before: as BodyLimit has it; nodes: the origins of all nodes and of the settings, which may change; None where the
    relay is the only one."""
    origins = Allowed(settings.cors_origins) if nodes is None else nodes
    app.add_middleware(
        BodyLimit,
        limit=lambda path: _body_limit(settings, path),
        patience=settings.request_timeout_s,
        min_rate=settings.min_body_rate,
        refused=refused,
        before=before,
    )
    if settings.cors_origins or nodes is not None:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE", "OPTIONS"],
            allow_headers=["Authorization", "Content-Type", "If-Match"],
            expose_headers=["Location", "Link", "Accept-Patch", "ETag"],
        )
    app.add_middleware(OriginCheck, allowed=origins, refused=refused)
    names = [*settings.allowed_hosts, *filter(None, [urlsplit(settings.public_url).hostname])]
    app.add_middleware(HostCheck, names=known_hosts(settings.host, names), refused=refused)
    # around all, as what Starlette answers to an unexpected error comes from outside the middlewares that are added
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: SecurityHeaders(build(), nodes or ())  # type: ignore[method-assign]


def _body_limit(settings: Settings, path: str) -> int:
    if path.startswith("/api/people/"):
        return SMALL_BODY + settings.max_photos * settings.max_photo_bytes
    return SMALL_BODY
