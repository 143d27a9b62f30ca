"""`hime serve`: the relay under uvicorn."""

from __future__ import annotations

import logging
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from hime_core.errors import InputError
from server.access.access import load_access
from server.settings import Settings, load_settings
from server.silence import leave_no_core, log_to_stderr

BACKLOG = 128
GRACE_SECONDS = 5  # for open requests when the service stops
LOOPBACK = ("127.0.0.1", "::1", "localhost")

log = logging.getLogger(__name__)


def run(**options: Any) -> None:
    """Serves until a signal ends it. Raises InputError (wrong settings, port in use); exits with 1 if startup fails."""
    settings = load_settings(**options)
    log_to_stderr(settings.log_level)
    leave_no_core()
    access = load_access(settings)
    listener = listen(settings.host, settings.port)
    # Before torch is loaded: its threads would spin against those of the media path.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import uvicorn

    from hime_core.model.checkpoint import find_weights

    if settings.weights != "auto":
        find_weights(settings.weights)
    _check_identity(settings.identity_weights)
    _check_data(settings)

    from server.app import create_app
    from server.limits.connections import Connections

    app = create_app(settings, access=access)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                reasons = await app.state.relay.reasons()
                _announce(settings, listener.getsockname()[1], reasons, access.open_to_all)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await app.state.relay.stop()
            await super().shutdown(sockets)

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
    server = Server(config)
    with listener, suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)


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
