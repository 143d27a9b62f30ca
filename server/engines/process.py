"""An engine process, `python -m server.engines.process LISTENER`: the relay starts it, and says by standard input what
it is to load. LISTENER is the number of the descriptor of the socket that workers connect to."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from hime_core.engine import Engine, FailoverConfig, FailoverEngine
from server.engines import wire
from server.engines.keeper import ALIVE, NO_CARD
from server.engines.load import load_engine
from server.engines.orders import Orders
from server.engines.service import Service, Told
from server.silence import leave_no_core, log_to_stderr

BEAT = 0.5  # seconds between signs of life on standard output, from when the networks are loaded
LOST = 3  # exit code

Make = Callable[[Orders, Told], Engine]


def loaded(orders: Orders, told: Told) -> Engine:
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    return load_engine(orders.weights, orders.device, told.batch, told.wait, lambda: _say(NO_CARD))


def main(make: Make = loaded) -> None:
    """Serves until the relay ends. make: the engine."""
    orders = Orders.of_line(sys.stdin.buffer.readline())
    log_to_stderr(orders.log_level)
    leave_no_core()
    threading.Thread(target=_end_with_relay, name="relay", daemon=True).start()
    listener = socket.socket(fileno=int(sys.argv[1]))
    told = Told()
    try:
        first = make(orders, told)
    except Exception as error:
        _refuse(listener, " ".join(str(error).split()) or type(error).__name__)
        sys.exit(f"the engine could not be loaded: {type(error).__name__}")
    os.set_blocking(sys.stdout.fileno(), False)
    # What follows an engine that fails or hangs is another process: only that has a graphics card from the beginning.
    engine = FailoverEngine(first, lambda: os._exit(LOST), config=FailoverConfig())
    Service(listener, engine, told).run(BEAT, lambda: _say(ALIVE))


def _say(what: bytes) -> None:
    with suppress(BlockingIOError):  # nobody reads just now
        os.write(sys.stdout.fileno(), what)


def _refuse(listener: socket.socket, reason: str) -> None:
    """Tells the workers that wait."""
    listener.setblocking(False)
    with suppress(OSError):
        while True:
            link, _ = listener.accept()
            with link, suppress(OSError):
                link.send(wire.failed(reason))


def _end_with_relay() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not by sys.stdin, whose lock would be held when the interpreter ends
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
