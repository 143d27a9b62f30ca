"""One worker of the front's: its process, which is started again where it dies."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import httpx

from server.supervision import told
from server.workers.link import connected
from server.workers.orders import Orders
from server.workers.report import Report

MODULE = "server.workers.worker"
POLL = 0.5  # seconds between reports
FIRST_POLL = 0.1  # the same until the first one
START_WITHIN = 300.0  # seconds: networks are loaded, by many workers at once
ANSWER_WITHIN = 20.0  # seconds of silence, after which a worker is taken to hang
END_WITHIN = 45.0  # seconds that a worker has to end by itself, beyond the time that calls may go on
FORWARD_WITHIN = 60.0  # seconds that an answer to a forwarded request may take

State = Literal["starting", "ready", "full", "ending", "down"]

log = logging.getLogger(__name__)


class WorkerDied(RuntimeError):
    """It has ended, or hangs, though nobody told it to end."""


class Worker:
    """For the event loop. number: its place, from 1, which whoever follows it takes over."""

    def __init__(
        self,
        number: int,
        orders: Callable[[], Orders],
        on_report: Callable[[Worker, Report, float], None],
        on_gone: Callable[[Worker], None],
        module: str = MODULE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """orders: those of the next process; on_report: told of each report, with the clock's seconds when it was asked
        for; on_gone: told at once when the process has ended, with all its calls; module: what is run."""
        self.number = number
        self.state: State = "starting"
        self.report: Report | None = None
        self.others = 0  # how deep the other workers' streams have stepped down, as it is told with the next question
        self.settled = asyncio.Event()  # whether its first process has become ready, or has failed
        self.over = asyncio.Event()  # whether it has ended, and nothing follows it
        self.replaced = False  # whether it is to end, and another to follow
        self._orders, self._on_report, self._on_gone = orders, on_report, on_gone
        self._module, self._clock = module, clock
        first = orders()
        self.control = connected(first.socket, ANSWER_WITHIN, first.secret)
        self.http = connected(first.socket, FORWARD_WITHIN)  # for what others ask
        self._process: Process | None = None
        self._ending = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def there(self) -> bool:
        """Whether it answers."""
        return self.state in ("ready", "full", "ending")

    async def run(self) -> None:
        """Until it is told to end; to be started again where it raises WorkerDied."""
        try:
            while not self._ending:
                await self._once()
        finally:
            if self._ending:
                self.over.set()

    def signal_end(self) -> None:
        """Its calls may go on for a while; the second time, they end at once. Nothing follows it."""
        self._ending = True
        if self.state == "down":  # between two processes
            self.over.set()
        self._terminate()

    def replace(self) -> None:
        """It ends, now that it is empty, and another follows it."""
        self.replaced, self.state = True, "ending"
        self._terminate()

    async def close(self) -> None:
        await self.control.aclose()
        await self.http.aclose()

    def _terminate(self) -> None:
        if self._process is not None and self._process.returncode is None:
            if self.state != "down":
                self.state = "ending"
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    async def _once(self) -> None:
        self.state, self.report, self.replaced = "starting", None, False
        try:
            process = self._process = await _started(self._module, self._orders())
        except OSError:  # the machine has no more to give
            self.state = "down"
            self.settled.set()
            raise
        if self._ending:  # which came while it was started
            self._terminate()
        ended, polled = asyncio.ensure_future(process.wait()), asyncio.ensure_future(self._poll())
        try:
            await asyncio.wait((ended, polled), return_when=asyncio.FIRST_COMPLETED)
        finally:
            polled.cancel()
            self.state = "down"
            self.settled.set()
            with suppress(ProcessLookupError):
                process.kill()
            await ended
            self._on_gone(self)
        if not (self._ending or self.replaced):
            raise WorkerDied(f"worker {self.number} has ended with {process.returncode}")

    async def _poll(self) -> None:
        """Returns when it is silent for too long."""
        heard, after = self._clock(), 0
        while True:
            asked = self._clock()
            try:
                answer = await self.control.get("/worker/report", params={"after": after, "others": self.others})
                report = Report.model_validate_json(answer.raise_for_status().content)
            except (httpx.HTTPError, ValueError) as error:
                silent = self._clock() - heard
                if silent > (START_WITHIN if self.state == "starting" else ANSWER_WITHIN):
                    log.error("worker %d has not answered for %.0f s: %s", self.number, silent, type(error).__name__)
                    return
            else:
                heard = self._clock()
                after = max((at for at, _ in report.seconds), default=after)
                self.report = report
                if self.state == "starting":
                    self.state = "ready"
                try:
                    self._on_report(self, report, asked)
                except Exception as error:  # the worker is well, and its calls are to go on
                    log.error("a worker's report could not be used: %s", told(error))
                self.settled.set()
            await asyncio.sleep(FIRST_POLL if self.state == "starting" else POLL)


async def _started(module: str, orders: Orders) -> Process:
    """In a session of its own: what a terminal's Ctrl-C means for it, the front decides."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=PIPE, env={**os.environ, "PYTHONPATH": path}, start_new_session=True
    )
    assert process.stdin is not None
    with suppress(OSError):  # it has ended already, which its exit code tells
        process.stdin.write(pickle.dumps(orders))
        await process.stdin.drain()
    return process  # whose standard input stays open: it ends with the front
