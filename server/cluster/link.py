"""A relay's end of the process that speaks to Ray."""

from __future__ import annotations

import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from server.cluster.orders import Orders
from server.supervision import FIRST_PAUSE, LONGEST_PAUSE

WAITING = 256  # that may be on their way to the process; more are refused
ENDING = 5.0  # seconds that the process may take to end
LOOK = 1.0  # seconds between looks at whether it still answers
# Seconds in which no actor answers what is asked, after which the process is started anew, twice as long each time
# until one does: when Ray's head has come back as another one, Ray answers with errors alone, and does not end it.
FIRST_PATIENCE, LONGEST_PATIENCE = 15.0, 600.0
ROOT = Path(__file__).resolve().parents[2]
FULL = "Overload"
REFUSALS = ("Late", FULL)  # are answers of an engine, as FaceRefused has them

log = logging.getLogger(__name__)


class ClusterAway(RuntimeError):
    """Ray, or an actor on it, does not answer; the message is the kind of failure, in a word."""


class Link:
    """Asks actors, and never blocks; the process is started again whenever it ends. Thread-safe."""

    def __init__(self, orders: Orders, on_failure: Callable[[], None] = lambda: None) -> None:
        """on_failure: called in a thread whenever the process has ended by itself."""
        self.incarnation = 0  # grows with each start
        self._orders, self._on_failure = orders, on_failure
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._asked: dict[int, Future[Any]] = {}
        self._number = 0
        self._asked_since: float | None = (
            None  # when the first was asked since an actor's last answer, monotonic seconds
        )
        self._patience = FIRST_PATIENCE
        self._out: queue.Queue[Any] | None = None  # to the process; None while there is none
        self._last: tuple[Any, ...] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="cluster", daemon=True)
        self._thread.start()

    @property
    def there(self) -> bool:
        """Whether the process has joined the cluster."""
        return self._out is not None

    def ask(self, actor: str, method: str, *args: Any, returns: int = 1) -> Future[Any]:
        """The future may carry ClusterAway."""
        future: Future[Any] = Future()
        with self._lock:
            self._number += 1
            number, out = self._number, self._out
            if out is None:
                future.set_exception(ClusterAway("not joined"))
                return future
            self._asked[number] = future
            self._asked_since = time.monotonic() if self._asked_since is None else self._asked_since
            try:
                out.put_nowait((number, actor, method, args, returns))
            except queue.Full:
                del self._asked[number]
                future.set_exception(ClusterAway(FULL))
                return future
        future.add_done_callback(lambda future: self._forget(number) if future.cancelled() else None)
        return future

    def ask_last(self, actor: str, method: str, *args: Any) -> None:
        """What the process asks when this one has ended, however it did."""
        self._last = (0, actor, method, args, 1)
        with self._lock:
            if self._out is not None:
                with suppress(queue.Full):
                    self._out.put_nowait(self._last)

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            out, self._out = self._out, None
        if out is not None:
            with suppress(queue.Full):
                out.put_nowait(None)
        if self._process is not None:
            try:
                self._process.wait(ENDING)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._thread.join(ENDING)

    # -- the link's threads

    def _keep(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            try:
                joined = self._run()
            except OSError:  # the machine is short of what a process takes
                joined = False
            if self._closing.is_set():
                return
            self._on_failure()
            pause = FIRST_PAUSE if joined else min(2 * pause, LONGEST_PAUSE)
            log.warning("the cluster cannot be reached, and is tried again in %g s", pause)
            self._closing.wait(pause)

    def _run(self) -> bool:
        """Until the process has ended; whether it had joined."""
        ours, others = socket.socketpair()
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "server.cluster.agent", str(others.fileno())]
        environment = {**os.environ, "PYTHONPATH": path}
        with others:
            self._process = subprocess.Popen(
                command, pass_fds=[others.fileno()], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
            )
        connection, joined = Connection(ours.detach()), False
        out: queue.Queue[Any] = queue.Queue(WAITING)
        try:
            connection.send(self._orders)
            connection.recv()
            joined = True
            if self._last is not None:
                out.put(self._last)
            threading.Thread(target=_write, args=(connection, out), name="cluster-out", daemon=True).start()
            with self._lock:
                if self._closing.is_set():
                    out.put(None)
                else:
                    self.incarnation += 1
                    self._out, self._asked_since = out, None
            while True:
                if connection.poll(LOOK):
                    self._answer(*connection.recv())
                if self._is_over():
                    self._process.kill()
        except (EOFError, OSError):
            pass
        finally:
            with self._lock:
                self._out, waiting, self._asked = None, list(self._asked.values()), {}
            with suppress(queue.Full):
                out.put_nowait(None)
            for future in waiting:
                _fail(future, ClusterAway("the connection ended"))
            if not joined:
                connection.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDING)
            self._process.kill()
        return joined

    def _forget(self, number: int) -> None:
        """Nobody waits for the answer any longer."""
        with self._lock:
            self._asked.pop(number, None)

    def _is_over(self) -> bool:
        """Whether patience is; there is more of it the next time."""
        with self._lock:
            if self._asked_since is None or time.monotonic() - self._asked_since < self._patience:
                return False
            log.warning("no actor of the cluster has answered for %g s", self._patience)
            self._asked_since, self._patience = None, min(2 * self._patience, LONGEST_PATIENCE)
            return True

    def _answer(self, number: int, result: Any, error: str) -> None:
        with self._lock:
            future = self._asked.pop(number, None)
            if error in ("", *REFUSALS):
                self._asked_since, self._patience = None, FIRST_PATIENCE
        if future is None:
            return
        if error:
            _fail(future, ClusterAway(error))
        else:
            with suppress(InvalidStateError):  # it was cancelled
                future.set_result(result)


def _write(connection: Connection, out: queue.Queue[Any]) -> None:
    """Until None comes, or the process has ended."""
    with suppress(OSError):
        while (asked := out.get()) is not None:
            connection.send(asked)
            del asked  # nothing here holds on to anybody's face
    with suppress(OSError):
        socket.socket(fileno=os.dup(connection.fileno())).shutdown(socket.SHUT_RDWR)


def _fail(future: Future[Any], error: Exception) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)
