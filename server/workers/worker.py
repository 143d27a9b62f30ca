"""A worker process, `python -m server.workers.worker`: the front starts it, and says by standard input what to do."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

from fastapi import FastAPI

from server.app import Among, create_app
from server.hosting import host_app
from server.settings import Settings
from server.silence import leave_no_core, log_to_stderr
from server.workers.control import install
from server.workers.orders import Orders
from server.workers.siblings import Siblings

APART = 1.0  # seconds between two signals: of two at once, Python tells of one

Make = Callable[[Settings, Among], FastAPI]


def made(settings: Settings, among: Among) -> FastAPI:
    return create_app(settings, among=among)


def main(make: Make = made) -> None:
    """Serves until the front tells it to end, or ends itself. make: the relay's application."""
    orders: Orders = pickle.load(sys.stdin.buffer)  # from the front alone, which has started this process
    settings = orders.settings
    log_to_stderr(settings.log_level)
    leave_no_core()
    threading.Thread(target=_end_with_front, name="front", daemon=True).start()
    among = Among(
        itertools.count(orders.first, orders.step),
        Siblings(orders.others, orders.secret),
        unix_clock(orders),
        orders.engine,
    )
    app = make(settings, among)
    install(app, orders.secret)
    # The front is the only proxy that can reach the socket, and names one address: its own client's.
    host_app(app, settings, _bound(orders), lambda reasons: None, forwarded_allow_ips="*", date_header=False)


def unix_clock(orders: Orders) -> Callable[[], float]:
    """Unix time, as the front and the other workers count it."""
    return lambda: time.monotonic() + orders.unix


def _bound(orders: Orders) -> socket.socket:
    """Bound, and not listening before the relay serves: who connects earlier is refused, and waits for nothing."""
    orders.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(orders.socket))
    return listener


def _end_with_front() -> None:
    """Nobody could reach calls any longer when the front has died: they do not go on as long as they might."""
    while os.read(sys.stdin.fileno(), 1):  # not by sys.stdin, whose lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(APART)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
