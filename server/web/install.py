"""The web's own rules around an application."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

from server.settings import Settings
from server.web.headers import SecurityHeaders
from server.web.origins import HostCheck, OriginCheck, known_hosts


def install(app: FastAPI, settings: Settings, refused: Callable[[str], None]) -> None:
    """To be called after every other middleware is added, so that these come before them. refused: counts a reason."""
    app.add_middleware(OriginCheck, allowed=settings.cors_origins, refused=refused)
    app.add_middleware(HostCheck, names=known_hosts(settings.host, settings.allowed_hosts), refused=refused)
    # around all, as what Starlette answers to an unexpected error comes from outside the middlewares that are added
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: SecurityHeaders(build())  # type: ignore[method-assign]
