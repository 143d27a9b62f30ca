"""The front: the application that answers HTTP before several workers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from server import pages, problems
from server.access.access import Access
from server.access.routes import router as access_router
from server.cluster.node import Node
from server.cluster.redirect import redirect_rooms
from server.engines.engines import engines_of
from server.engines.keeper import MODULE as ENGINE
from server.limits import Limits
from server.load.capacity import Capacity
from server.load.cost import together
from server.observability.kept import KeptMinutes, open_kept
from server.observability.metrics import Metrics
from server.observability.routes import WorkerReadiness
from server.observability.routes import router as observability_router
from server.rooms.keeper import Keeper
from server.rooms.stream_routes import router as streams_router
from server.settings import Settings
from server.settings.processors import cores
from server.supervision import supervised
from server.web.install import install as install_web_rules
from server.workers.drain import FrontDrain
from server.workers.exposition import Merged
from server.workers.figures import FleetMachine, Streams
from server.workers.fleet import Fleet
from server.workers.hub import Hub
from server.workers.places import Places
from server.workers.process import MODULE, Worker
from server.workers.report import Report
from server.workers.routes import install_the_rest, router
from server.workers.seconds import LATE, MergedSeconds

READY_WITHIN = 5.0  # seconds that a worker may take to tell whether it is ready, or what it has counted
SWEEP = 1.0  # seconds between looks at rooms that nobody listens to

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recogniser:
    """What the workers tell faces by."""

    name: str


class Front:
    """All that a front is made of, by the names that a single relay's parts have. For the event loop.

    kept: None where earlier minutes' figures cannot be kept.
    """

    def __init__(
        self, settings: Settings, access: Access, metrics: Metrics, kept: KeptMinutes | None, fleet: Fleet
    ) -> None:  # fmt: skip
        """To be made when the first workers have started: they know what the machine carries."""
        self.settings, self.access, self.metrics, self.kept, self.fleet = settings, access, metrics, kept, fleet
        reports = [worker.report for worker in fleet.workers if worker.report]
        told = settings
        if reports:
            auto = {"max_streams": reports[0].most_streams, "max_watchers": reports[0].most_watchers}
            told = settings.model_copy(update=auto)
        self.limits = Limits(told, metrics.refused)
        self._capacity = Capacity(self.limits.admission, settings, cores())
        self.places = Places(self.limits.admission)
        self.rooms = Streams(fleet, self.limits)
        self.hub = Hub(fleet.workers, self.limits.admission, lambda: self.drain.events(), metrics.failure)
        self.drain = FrontDrain(fleet.workers, settings.drain_s, self.hub.tell, metrics.refused)
        self.stopping = asyncio.Event()
        self._seconds = MergedSeconds(metrics.history)
        self._merged = Merged()
        self._engines: set[int] = set()  # engine processes whose metrics were told
        fleet.on_report, fleet.on_gone = self._reported, self._gone
        for worker in fleet.workers:
            if worker.report is not None:
                self._reported(worker, worker.report, 0.0)

    @property
    def recogniser(self) -> Recogniser | None:
        names = [worker.report.recogniser for worker in self.fleet.there if worker.report]
        return Recogniser(name) if (name := next(filter(None, names), None)) else None

    async def stop(self) -> None:
        """Ends calls and event streams, which would otherwise keep the server from stopping."""
        self.drain.begin()
        self.drain.hurry()
        await self.drain.over.wait()
        self.hub.close()
        self.stopping.set()

    async def reasons(self, within: float = READY_WITHIN) -> list[str]:
        """Why the relay is not ready, one sentence each; empty when it is: with one worker that is, at least. within:
        seconds that a worker may take to tell."""
        return (await self.readiness(within))[0]

    async def readiness(self, within: float = READY_WITHIN) -> tuple[list[str], list[WorkerReadiness]]:
        """The reasons, and those of each worker."""
        workers = list(await asyncio.gather(*(_readiness(worker, within) for worker in self.fleet.workers)))
        if (left := self.drain.seconds_left) is not None:
            return [f"draining: the relay ends in {left:.0f} s"], workers
        if any(one.state == "ready" and not one.reasons for one in workers):
            return [], workers
        return [f"worker {one.number}: {'; '.join(one.reasons)}" for one in workers], workers

    async def exposition(self) -> bytes:
        """All processes' metrics in Prometheus' text format, as those of one."""
        states = [worker.state for worker in self.fleet.workers]
        self.metrics.set_workers({state: states.count(state) for state in states})
        ready = [one for one in self.fleet.workers if one.state == "ready" and one.report and not one.report.reasons]
        self.metrics.set_ready(bool(ready) and self.drain.seconds_left is None)
        asked = [(worker, worker.pid) for worker in self.fleet.there]
        told = await asyncio.gather(*(_metrics(worker) for worker, _ in asked))
        texts: dict[Any, str] = {"front": self.metrics.exposition().decode()}
        for (worker, pid), text in zip(asked, told, strict=True):
            if text and worker.there and worker.pid == pid:  # what it told before it ended is in the sums as it was
                texts[worker.number] = text
        engines = set(self.fleet.engine_pids)
        for pid in self._engines - engines:
            self._merged.gone(f"engine {pid}")
        self._engines = engines
        own = {f"engine {pid}": text for pid in engines if (text := _of_process(pid))}
        return self._merged.merge(texts | own)

    async def sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self.hub.sweep()

    def _reported(self, worker: Worker, report: Report, asked: float) -> None:
        self.places.reported(worker.number, report, asked)
        self._seconds.add(report.seconds)
        reports = [each.report for each in self.fleet.there if each.report]
        streams = [stream for each in reports for stream in each.streams]
        history = self.metrics.history
        history.set_streams("in", len(streams))
        history.set_streams("out", sum(len(stream.watchers) for stream in streams))
        history.bank_exemplars = sum(each.bank for each in reports)
        history.rungs = dict(sum((Counter(each.rungs) for each in reports), Counter()))
        self._share_load()

    def _share_load(self) -> None:
        """Each worker learns how deep the others' streams have stepped down; places follow what all streams cost."""
        there = [(worker, worker.report) for worker in self.fleet.there if worker.report]
        for worker, _ in there:
            worker.others = max((its.stepped for other, its in there if other is not worker), default=0)
        # A worker that is full for the machine's sake is so for all; one whose own process is short leaves the others.
        full = [its for _, its in there if its.full]
        over = bool(full) and (any(its.stepped for its in full) or len(full) == len(there))
        self._capacity.update(together(its.cost for _, its in there), over)

    def _gone(self, worker: Worker) -> None:
        self.places.gone(worker.number)
        self._merged.gone(worker.number)
        self.hub.gone(worker)


def create_front(
    settings: Settings, access: Access, module: str = MODULE, engine: str = ENGINE, node: Node | None = None
) -> FastAPI:
    """The application. module: what workers run; engine: what engine processes run, where there are some; node: as
    create_app has it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            engines = await engines_of(settings, metrics.failure, engine)
            if engines:
                fleet.engines = engines
                stack.push_async_callback(engines.close)
            app.state.relay = await _build(settings, access, fleet, metrics, stack)
            yield

    # Whose history is behind the time: the workers' reports of a second come after it.
    metrics = Metrics(lambda: time.monotonic() - LATE, lambda: time.time() - LATE)
    fleet = Fleet(settings, metrics.refused, module)
    app = FastAPI(title="HIME Relay", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    problems.install(app)
    install_web_rules(app, settings, metrics.refused, nodes=node.origins if node else None)
    for each in (access_router, router, streams_router, observability_router):
        app.include_router(each)
    pages.install(app, settings.client)
    if node is not None:
        redirect_rooms(app, node)
    install_the_rest(app)
    return app


async def _build(
    settings: Settings, access: Access, fleet: Fleet, metrics: Metrics, stack: AsyncExitStack
) -> Front:  # fmt: skip
    """Returns when each worker has become ready, or has failed once."""
    kept = await asyncio.to_thread(open_kept, settings.data / "figures.db", lambda: metrics.failure("figures"))
    if kept is not None:
        stack.callback(kept.close)
        fleet.number_from(kept.last_stream)
    stack.push_async_callback(fleet.close)
    for worker in fleet.workers:
        await _running(stack, "worker", supervised("worker", worker.run, metrics.failure))
    await asyncio.gather(*(worker.settled.wait() for worker in fleet.workers))
    front = Front(settings, access, metrics, kept, fleet)
    keeper = Keeper(metrics, kept, front.rooms.streams, FleetMachine(fleet))
    await _running(stack, "figures", supervised("figures", keeper.run, metrics.failure))
    await _running(stack, "sweep", supervised("sweep", front.sweep_forever, metrics.failure))
    return front


def _of_process(pid: int) -> str:
    """What Prometheus' own `process_…` metrics say of an engine process; what faces cost there, the workers count.
    Empty where it has just ended, which is not known yet."""
    registry = CollectorRegistry()
    ProcessCollector(pid=lambda: pid, registry=registry)
    return generate_latest(registry).decode()


async def _running(stack: AsyncExitStack, name: str, work: Any) -> None:
    task = asyncio.create_task(work, name=name)

    async def cancelled() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(cancelled)


async def _readiness(worker: Worker, within: float) -> WorkerReadiness:
    reasons = [f"it is {worker.state}"]
    if worker.there:
        try:
            answer = await worker.control.get("/worker/ready", timeout=within)
            reasons = list(answer.raise_for_status().json())
        except httpx.HTTPError:
            reasons = ["it does not answer"]
        if worker.state == "full":
            reasons.append("it has as much memory as HIME_WORKER_MEMORY_MB allows")
    return WorkerReadiness(number=worker.number, state=worker.state, reasons=reasons)


async def _metrics(worker: Worker) -> str:
    """Empty where it has just ended."""
    try:
        answer = await worker.control.get("/worker/metrics", timeout=READY_WITHIN)
        return answer.raise_for_status().text
    except httpx.HTTPError:
        return ""
