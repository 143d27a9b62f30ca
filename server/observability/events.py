"""Server-sent events over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

PING = 15  # seconds between signs of life
STUCK = 30  # seconds for a listener to read on, after which it is taken to be gone


class Place(Protocol):
    """Among the listeners."""

    def release(self) -> None: ...


class EventStream(EventSourceResponse):
    """Gives its place back when it ends, whatever the way: also where nothing of it was ever read."""

    def __init__(self, content: AsyncIterator[Any], place: Place) -> None:
        super().__init__(content, headers={"Cache-Control": "no-store"}, ping=PING, send_timeout=STUCK)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except* SendTimeoutError:  # the connection is closed with the answer unfinished
            pass
        finally:
            self._place.release()
