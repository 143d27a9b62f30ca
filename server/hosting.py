"""An application under uvicorn, and how signals end it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from server.limits.connections import Connections
from server.memory import keep_what_is_loaded
from server.settings import Settings

if TYPE_CHECKING:  # which brings OpenCV and PyAV with it
    from fastapi import FastAPI

OPENING_SECONDS = 60.0  # that storage may take at first, which brings its schema up to date
GRACE_SECONDS = 5  # for open requests when the service stops
EXIT_SECONDS = 30.0  # from the end of the calls to the end of the process, whatever hangs
HURRIED_EXIT_SECONDS = 5.0  # the same from a second signal on


def host_app(
    app: FastAPI,
    settings: Settings,
    listener: socket.socket,
    on_ready: Callable[[list[str]], None],
    **options: Any,
) -> None:
    """Serves until a signal ends it. Exits with 1 if startup fails, and with 128 + the signal's number where a second
    signal cut the calls.

    app.state.relay has, from startup on, what RelayServer and Connections ask: drain, reasons(), stop() and metrics.
    on_ready: is told why the relay is not ready, in no sentence where it is. options: uvicorn's.
    """
    connections = Connections(
        settings.max_connections,
        settings.max_connections_per_address,
        settings.request_timeout_s,
        refused=lambda reason: app.state.relay.metrics.refused(reason),
    )
    config = uvicorn.Config(
        app,
        http=connections.protocol(),
        ws="none",
        log_config=None,
        access_log=False,  # paths hold people's names
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **options,
    )
    server = RelayServer(config, app, on_ready)
    with listener, suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)
    sys.exit(server.exit_code)


class RelayServer(uvicorn.Server):
    """uvicorn's, whose first signal lets calls go on for a while, and whose second one ends them. A third ends the
    process as it is, and so does a second before the relay serves."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, on_ready: Callable[[list[str]], None]) -> None:
        """on_ready: is told why the relay is not ready, in no sentence where it is."""
        super().__init__(config)
        self.exit_code = 0
        self._app, self._on_ready = app, on_ready
        self._signals = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._app.state.relay.drain.on_over = self._end
            self._loop = asyncio.get_running_loop()
            keep_what_is_loaded()
            self._on_ready(await self._app.state.relay.reasons(OPENING_SECONDS))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """In the main thread, between any two instructions. `should_exit` comes last: it ends event streams at once."""
        self._signals += 1
        if self._signals == 3 or (self._signals == 2 and self._loop is None):
            os._exit(128 + sig)
        if self._loop is None:
            self.should_exit = True
            return
        drain = self._app.state.relay.drain
        if self._signals == 1:
            self._loop.call_soon_threadsafe(drain.begin)
            return
        self.exit_code, self.force_exit = 128 + sig, True
        self._exit_within(HURRIED_EXIT_SECONDS)
        self._loop.call_soon_threadsafe(drain.hurry)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._exit_within(EXIT_SECONDS)
        await self._app.state.relay.stop()
        await super().shutdown(sockets)

    def _exit_within(self, seconds: float) -> None:
        """Threads that hang would otherwise be waited for when the interpreter ends."""
        watch = threading.Timer(seconds, os._exit, (self.exit_code,))
        watch.daemon = True
        watch.start()

    def _end(self) -> None:
        self.should_exit = True
