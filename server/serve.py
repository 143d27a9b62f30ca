"""`hime serve`: one process that is the relay, or a front before several."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hime_core.errors import InputError
from server.settings import Settings, load_settings
from server.silence import leave_no_core, log_to_stderr

if TYPE_CHECKING:  # which brings OpenCV and PyAV with it
    from fastapi import FastAPI

    from server.access.access import Access
    from server.cluster.node import Node

    class Make(Protocol):
        def __call__(self, *, node: Node | None = None) -> FastAPI: ...


BACKLOG = 128
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

    if settings.weights != "auto":
        from hime_core.model.checkpoint import find_weights

        find_weights(settings.weights)
    _check_identity(settings.identity_weights)
    _check_data(settings)

    serve(application(settings, access, listener.getsockname()[1]), settings, listener)


def application(
    settings: Settings,
    access: Access,
    port: int,
    make: Make | None = None,
    worker: str | None = None,
    engine: str | None = None,
) -> FastAPI:
    """The whole relay; where there are several workers, the front before them; and where there are several nodes, as
    one of them. port: where it listens; make: makes a relay of one process; worker, engine: the modules that workers
    and engine processes run."""
    if settings.worker_count > 1:
        from server.engines.keeper import MODULE as ENGINE
        from server.workers.front import create_front
        from server.workers.process import MODULE as WORKER

        make = partial(create_front, settings, access, worker or WORKER, engine or ENGINE)
    elif make is None:
        from server.app import create_app

        make = partial(create_app, settings, access=access)
    if not settings.cluster:
        return make()
    from server.cluster.carried import OfFront, OfRelay
    from server.cluster.install import clustered

    url = settings.public_url or address(settings.host, port)
    return clustered(settings, url, lambda node: make(node=node), OfFront if settings.worker_count > 1 else OfRelay)


def serve(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    """Serves an application of `create_app` until a signal ends it, and tells where; exits as host_app() does."""
    port = listener.getsockname()[1]

    def on_ready(reasons: list[str]) -> None:
        _announce(settings, port, reasons, app.state.relay.access.open_to_all)

    from server.hosting import host_app  # not before signals are seen to

    host_app(app, settings, listener, on_ready)


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
