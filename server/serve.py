"""`hime serve`: the relay under uvicorn."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from hime_core.errors import InputError
from server.settings import Settings, load_settings

BACKLOG = 128
GRACE_SECONDS = 5  # for open requests when the service stops
LOOPBACK = ("127.0.0.1", "::1", "localhost")

log = logging.getLogger(__name__)


def run(**options: Any) -> None:
    """Serves until a signal ends it. Raises InputError (wrong settings, port in use); exits with 1 if startup fails."""
    settings = load_settings(**options)
    listener = listen(settings.host, settings.port)
    # Before torch is loaded: its threads would spin against those of the media path.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _log_to_stderr(settings.log_level)

    import uvicorn

    from hime_core.model.checkpoint import find_weights

    if settings.weights != "auto":
        find_weights(settings.weights)
    _check_identity(settings.identity_weights)
    _check_data(settings)

    from server.app import create_app

    app = create_app(settings)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                keep_what_is_loaded()
                _announce(settings, listener.getsockname()[1], await app.state.relay.reasons())

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await app.state.relay.stop()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
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


def keep_what_is_loaded() -> None:
    """Takes all that is there out of the garbage collector's sight, as it stays to the end.

    Otherwise the collector comes by only when calls have left a quarter as many objects as torch and the rest brought
    along, hundreds of dead sessions with their frames among them, and then holds the event loop up for half a second.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # tells it how few there are now


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


def _announce(settings: Settings, port: int, reasons: list[str]) -> None:
    url = address(settings.host, port)
    if reasons:
        print(f"HIME Relay serves on {url}, but is not ready: {'; '.join(reasons)}", file=sys.stderr, flush=True)
    else:
        print(f"HIME Relay is ready on {url}", flush=True)
    if settings.host not in LOOPBACK:
        log.warning("rooms are open to everyone who reaches %s port %d", settings.host, port)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if level != "debug":
        for chatty in ("aioice", "aiortc", "uvicorn"):
            logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


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
