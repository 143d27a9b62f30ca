"""The web's own rules around an application."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

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
) -> None:
    """To be called after every other middleware is added, so that these come before them. refused: counts a reason;
    before: as BodyLimit has it."""
    app.add_middleware(
        BodyLimit,
        limit=lambda path: _body_limit(settings, path),
        patience=settings.request_timeout_s,
        min_rate=settings.min_body_rate,
        refused=refused,
        before=before,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE", "OPTIONS"],
            allow_headers=["Authorization", "Content-Type", "If-Match"],
            expose_headers=["Location", "Link", "Accept-Patch", "ETag"],
        )
    app.add_middleware(OriginCheck, allowed=settings.cors_origins, refused=refused)
    app.add_middleware(HostCheck, names=known_hosts(settings.host, settings.allowed_hosts), refused=refused)
    # around all, as what Starlette answers to an unexpected error comes from outside the middlewares that are added
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: SecurityHeaders(build())  # type: ignore[method-assign]


def _body_limit(settings: Settings, path: str) -> int:
    if path.startswith("/api/people/"):
        return SMALL_BODY + settings.max_photos * settings.max_photo_bytes
    return SMALL_BODY
