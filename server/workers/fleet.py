"""All workers of a front: which of them a request is for."""

from __future__ import annotations

import logging
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from server.engines.engines import Engines
from server.limits.admission import RETRY_AFTER
from server.limits.rates import Count
from server.problems import Problem
from server.settings import Settings
from server.workers.orders import Orders
from server.workers.pins import Pins
from server.workers.process import MODULE, Worker
from server.workers.report import Key, Report
from server.workers.shares import shares

SKIPPED = 1000  # numbers of streams, for those that a worker has given away and not told of before it died

log = logging.getLogger(__name__)


class Fleet:
    """For the event loop. Reports go to `on_report` (the worker, the report, and when it was asked for), and workers
    that have ended to `on_gone`."""

    def __init__(
        self,
        settings: Settings,
        refused: Count,
        module: str = MODULE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """refused: counts refusals; module: what workers run."""
        self.on_report: Callable[[Worker, Report, float], None] = lambda worker, report, asked: None
        self.on_gone: Callable[[Worker], None] = lambda worker: None
        self.engines: Engines | None = None  # to be set before workers run
        self.pins = Pins(clock)
        self._refused, self._memory = refused, settings.worker_memory_mb
        self._last_stream = 0
        self._shares, self._secret = shares(settings), secrets.token_urlsafe(32)
        self._directory = tempfile.TemporaryDirectory(prefix="hime-")  # for this user alone
        self._unix = time.time() - time.monotonic()
        self._turn = 0
        self._used: set[int] = set()  # workers that have had a participant since they were started
        self._begun: set[int] = set()  # workers that have ever reported
        self._keeper: Worker | None = None
        self.workers = [
            Worker(number, lambda number=number: self._orders(number), self._reported, self._gone, module, clock)  # type: ignore[misc]
            for number in range(1, len(self._shares) + 1)
        ]

    @property
    def there(self) -> list[Worker]:
        """Those that answer."""
        return [worker for worker in self.workers if worker.there]

    @property
    def engine_pids(self) -> list[int]:
        """Of the engine processes that workers ask."""
        return self.engines.pids if self.engines else []

    def number_from(self, last_stream: int) -> None:
        """Before workers run: the highest number that a stream had before."""
        self._last_stream = last_stream

    def for_publisher(self, key: Key) -> Worker:
        """Who has the name; else who remembers it, or carries least, of those that take newcomers. Raises Problem
        503."""
        if found := self._at(self.pins.of(key)):
            return found
        ready = [worker for worker in self.workers if worker.state == "ready"]
        before = self._at(self.pins.remembered_by(key))
        if before in ready:
            return before
        if ready:
            return min(ready, key=lambda worker: self.pins.load(worker.number))
        if any(worker.state == "full" for worker in self.workers):
            self._refused("memory")
            detail = "The relay has no memory left for another participant. Try again when one has left."
            after = {"Retry-After": str(RETRY_AFTER)}
            raise Problem(503, detail, after, kind="relay-full", limit="HIME_WORKER_MEMORY_MB")
        raise self._nobody()

    def for_name(self, key: Key) -> Worker:
        """Who has the name, or else any. Raises Problem 503."""
        return self._at(self.pins.of(key)) or self.any()

    def any(self) -> Worker:
        """By turns. Raises Problem 503."""
        there = self.there
        if not there:
            raise self._nobody()
        self._turn += 1
        return there[self._turn % len(there)]

    @property
    def keeper(self) -> Worker:
        """Who registers and deletes photos, one request after the other: always the same until it ends. Raises Problem
        503."""
        if self._keeper is None or not self._keeper.there:
            self._keeper = next(iter(self.there), None)
        if self._keeper is None:
            raise self._nobody()
        return self._keeper

    async def close(self) -> None:
        for worker in self.workers:
            await worker.close()
        self._directory.cleanup()

    def _at(self, number: int | None) -> Worker | None:
        worker = self.workers[number - 1] if number is not None else None
        return worker if worker is not None and worker.there else None

    def _nobody(self) -> Problem:
        self._refused("no_worker")
        detail = "The relay is just starting again. Try again shortly."
        return Problem(503, detail, {"Retry-After": "1"}, kind="no-worker")

    def _orders(self, number: int) -> Orders:
        """Of the next process of that worker."""
        step = len(self._shares)
        sockets = [Path(self._directory.name) / f"{each}.sock" for each in range(1, step + 1)]
        others = tuple(each for place, each in enumerate(sockets, 1) if place != number)
        begins = -(-self._last_stream // step) * step + number
        first = begins + (SKIPPED * step if number in self._begun else 0)
        engine = self.engines.of_worker(number) if self.engines else None
        settings = self._shares[number - 1]
        return Orders(settings, sockets[number - 1], others, engine, self._secret, first, step, self._unix)

    def _reported(self, worker: Worker, report: Report, asked: float) -> None:
        self._last_stream = max([self._last_stream, *(stream.number for stream in report.streams)])
        self._begun.add(worker.number)
        self.pins.reported(worker.number, report, asked)
        if report.used:
            self._used.add(worker.number)
        self._bound(worker, report)
        self.on_report(worker, report, asked)

    def _bound(self, worker: Worker, report: Report) -> None:
        """In memory. One that has too much though it has carried nobody would only be replaced by another such."""
        if not self._memory or worker.state not in ("ready", "full"):
            return
        too_much = report.memory_mib is not None and report.memory_mib > self._memory
        if worker.state == "ready" and too_much:
            log.warning("worker %d takes nobody new: it has more than %d MiB", worker.number, self._memory)
            worker.state = "full"
        empty = not report.used and self.pins.load(worker.number) == 0
        if worker.state == "full" and empty:
            if worker.number in self._used:
                worker.replace()
            elif not too_much:
                worker.state = "ready"

    def _gone(self, worker: Worker) -> None:
        self.pins.gone(worker.number)
        self._used.discard(worker.number)
        self.on_gone(worker)
