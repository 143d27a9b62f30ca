"""`hime serve`: the relay under uvicorn."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from hime_core.errors import InputError
from server.memory import keep_what_is_loaded
from server.settings import Settings, load_settings
from server.silence import leave_no_core, log_to_stderr

if TYPE_CHECKING:  # which brings OpenCV and PyAV with it
    from fastapi import FastAPI

BACKLOG = 128
OPENING_SECONDS = 60.0  # that storage may take at first, which brings its schema up to date
GRACE_SECONDS = 5  # for open requests when the service stops
EXIT_SECONDS = 30.0  # from the end of the calls to the end of the process, whatever hangs
HURRIED_EXIT_SECONDS = 5.0  # the same from a second signal on
LOOPBACK = ("127.0.0.1", "::1", "localhost")

log = logging.getLogger(__name__)


def run(**options: Any) -> None:
    """Serves until a signal ends it. Raises InputError (wrong settings, port in use); exits as serve() does."""
    _end_on_signals()
    settings = load_settings(**options)
    log_to_stderr(settings.log_level)
    leave_no_core()
    from server.access.access import load_access

    access = load_access(settings)
    listener = listen(settings.host, settings.port)
    # Before torch is loaded: its threads would spin against those of the media path.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from hime_core.model.checkpoint import find_weights

    if settings.weights != "auto":
        find_weights(settings.weights)
    _check_identity(settings.identity_weights)
    _check_data(settings)

    from server.app import create_app

    serve(create_app(settings, access=access), settings, listener)


def serve(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    """Serves an application of `create_app` until a signal ends it. Exits with 1 if startup fails, and with 128 + the
    signal's number where a second signal cut the calls."""
    from server.limits.connections import Connections

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
    )
    port = listener.getsockname()[1]
    server = RelayServer(
        config, app, lambda reasons: _announce(settings, port, reasons, app.state.relay.access.open_to_all)
    )
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


def _end_on_signals() -> None:
    """Until the relay serves, a signal ends the process, also as the first of a container, whose signals do nothing
    by themselves."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: os._exit(0))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that an address that cannot be had is known before anything is loaded."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot listen on {host} port {port} ({reason}): choose another --port or --host") from None


def address(host: str, port: int) -> str:
    """The URL that a browser on this machine takes."""
    if host in (*LOOPBACK, "0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(settings: Settings, port: int, reasons: list[str], open_to_all: bool) -> None:
    url = address(settings.host, port)
    if reasons:
        print(f"HIME Relay serves on {url}, but is not ready: {'; '.join(reasons)}", file=sys.stderr, flush=True)
    else:
        print(f"HIME Relay is ready on {url}", flush=True)
    if open_to_all:
        log.warning("HIME_OPEN: rooms and photos are open to everyone who reaches %s port %d", settings.host, port)


def _check_identity(weights: str) -> None:
    """Raises InputError where a file is named that is not there; what the relay finds wrong later does not end it."""
    from hime_core.faces.fetching import is_published

    if weights and not is_published(weights) and not Path(weights).is_file():
        raise InputError(f"HIME_IDENTITY_WEIGHTS: there is no file {weights}; without it, HIME's own network serves")


def _check_data(settings: Settings) -> None:
    """The data directory is made where it is missing. Raises InputError."""
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--data {settings.data}: {error.strerror}; give a directory that can be written") from error
    if not os.access(settings.data, os.W_OK):
        raise InputError(f"--data {settings.data}: it cannot be written; give a directory that can")
