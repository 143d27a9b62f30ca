"""The relay as an ASGI application."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
from fastapi import FastAPI

from server import pages, problems
from server.access.access import Access, load_access
from server.access.routes import router as access_router
from server.cluster.node import Node
from server.cluster.redirect import redirect_rooms
from server.engines.engines import Engines, engines_of
from server.engines.lasting import own_engine, remote_engine
from server.exemplars.check import WITHIN, StorageCheck
from server.exemplars.elsewhere import Elsewhere, Nowhere
from server.exemplars.routes import router as exemplars_router
from server.exemplars.service import ExemplarService
from server.exemplars.store import PhotoStore
from server.lifecycle import Drain, RefuseWhileDraining
from server.limits import Limits
from server.load.capacity import Capacity
from server.load.load import Load
from server.observability.kept import KeptMinutes, open_kept
from server.observability.machine import Machine
from server.observability.metrics import Metrics
from server.observability.routes import WorkerReadiness
from server.observability.routes import router as observability_router
from server.rooms.check_routes import router as check_router
from server.rooms.keeper import Keeper
from server.rooms.rooms import Rooms
from server.rooms.routes import router as rooms_router
from server.rooms.stream_routes import router as streams_router
from server.settings import Settings
from server.settings.processors import cores
from server.standins import FailedDetector, FailedEngine
from server.supervision import off_the_loop, supervised
from server.web.install import install as install_web_rules

if TYPE_CHECKING:  # these bring torch with them, which is loaded where it is needed
    from hime_core.engine import Engine, FailoverEngine
    from hime_core.faces.detector import StreamDetector
    from hime_core.faces.recognition import Recogniser

DESCRIPTION = "A WebRTC relay that gives far and blurred faces in a video call their details back."
CLOSE_SECONDS = 10.0  # that one part may take to end with the relay
MISSING = 30.0  # seconds that an engine may take to come back before the relay says that it is missing

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Given:
    """The parts that the caller made, and closes. None: the relay loads it."""

    engine: Engine | None = None
    detector: StreamDetector | None = None
    recogniser: Recogniser | None = None


@dataclass(frozen=True)
class Among:
    """What a relay is told that is one worker of several. numbers: of its streams, which no other worker's have;
    elsewhere: the others; wall: the Unix time by which all count seconds; engine: the socket of the engine process that
    it asks, None where it has an engine itself. Earlier minutes' figures are kept for all of them together, and not
    here."""

    numbers: Iterator[int]
    elsewhere: Elsewhere
    wall: Callable[[], float] = time.time
    engine: Path | None = None


@dataclass
class Relay:
    """All that a running relay is made of. recogniser: None where it could not be loaded; failures: what could not be
    loaded, by part; lasting: the engine, where one was loaded; kept: None where earlier minutes' figures cannot be
    kept."""

    settings: Settings
    access: Access
    metrics: Metrics
    engine: Engine
    detector: StreamDetector
    recogniser: Recogniser | None
    photos: PhotoStore
    storage: StorageCheck
    rooms: Rooms
    exemplars: ExemplarService
    limits: Limits
    load: Load
    drain: Drain
    kept: KeptMinutes | None
    failures: dict[str, str] = field(default_factory=dict)
    lasting: FailoverEngine | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def stop(self) -> None:
        """Ends calls and event streams, which would otherwise keep the server from stopping."""
        self.drain.begin()
        self.drain.hurry()
        await self.drain.over.wait()
        self.stopping.set()

    async def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        self.storage.begin()  # for the next who asks: figures do not wait for storage
        self.metrics.set_ready(not self.known_reasons)
        return self.metrics.exposition()

    async def readiness(self) -> tuple[list[str], list[WorkerReadiness]]:
        """The reasons, and no workers: this process is the whole relay, or one worker of it."""
        return await self.reasons(), []

    async def reasons(self, within: float = WITHIN) -> list[str]:
        """Why the relay is not ready, one sentence each; empty when it is. within: seconds that storage may take."""
        if self.drain.seconds_left is None:
            await self.storage.now(within)
        return self.known_reasons

    @property
    def known_reasons(self) -> list[str]:
        """The same, with storage as it was found last."""
        if (left := self.drain.seconds_left) is not None:
            return [f"draining: the relay ends in {left:.0f} s"]
        reasons = [f"{part}: {why}" for part, why in self.failures.items()]
        if self.lasting and (missing := self.lasting.missing_for) > MISSING:
            reasons.append(f"engine: it was lost {missing:.0f} s ago, and is not back")
        return reasons if self.storage.reason is None else [*reasons, f"storage: {self.storage.reason}"]


def create_app(
    settings: Settings,
    engine: Engine | None = None,
    detector: StreamDetector | None = None,
    recogniser: Recogniser | None = None,
    access: Access | None = None,
    among: Among | None = None,
    node: Node | None = None,
) -> FastAPI:
    """The application. Parts that are given stay the caller's to close; access: as the settings have it unless given;
    among: None where this process is the whole relay; node: what it is among several machines, None where it is alone.

    A part that cannot be loaded does not stop the service: calls pass unenhanced and /readyz gives the reason. Raises
    InputError where the settings do not say who may use the relay.
    """
    let_in = load_access(settings) if access is None else access

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            given = Given(engine, detector, recogniser)
            app.state.relay = await _build(settings, let_in, given, among, node, stack)
            yield

    app = FastAPI(
        title="HIME Relay",
        version=_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its pages would load scripts from another site
        redoc_url=None,
    )
    app.add_middleware(
        RefuseWhileDraining,
        drain=lambda: app.state.relay.drain,
        refused=lambda: app.state.relay.metrics.refused("draining"),
    )
    problems.install(app)
    install_web_rules(
        app,
        settings,
        refused=lambda reason: app.state.relay.metrics.refused(reason),
        before=lambda path, address: _before_body(app.state.relay.limits, path, address),
        nodes=node.origins if node else None,
    )
    if node is not None:
        redirect_rooms(app, node)
    app.include_router(access_router)
    app.include_router(rooms_router)
    app.include_router(check_router)
    app.include_router(exemplars_router)
    app.include_router(streams_router)
    app.include_router(observability_router)
    pages.install(app, settings.client)
    return app


async def _build(
    settings: Settings,
    access: Access,
    given: Given,
    among: Among | None,
    node: Node | None,
    stack: AsyncExitStack,
) -> Relay:
    """Builds the parts in order of need; the stack closes them in reverse."""
    cv2.setNumThreads(1)  # threads of many small operations only wait for each other
    metrics = Metrics(wall=among.wall) if among else Metrics()
    failures: dict[str, str] = {}

    async def load(part: str, make: Callable[[], T], instead: T) -> T:
        try:
            return await asyncio.to_thread(make)
        except Exception as error:  # whatever it is, the calls go on without this part
            log.exception("the %s could not be loaded", part)
            failures[part] = " ".join(str(error).split()) or type(error).__name__
            return instead

    engine: Engine
    lasting: FailoverEngine | None = None
    engines: Engines | None = None
    if given.engine is not None:
        engine = given.engine
    elif settings.cluster and settings.cluster_engines:
        engine = await load("engine", partial(_shared_engine, settings, metrics), FailedEngine())
        stack.push_async_callback(off_the_loop, engine.close, CLOSE_SECONDS, "close-engine")
    else:
        path = among.engine if among else None
        if among is None and (engines := await engines_of(settings, metrics.failure)):
            stack.push_async_callback(engines.close)
            path = engines.of_worker(1)
        make = partial(remote_engine, path, metrics) if path else partial(own_engine, settings, metrics)
        lasting = await load("engine", make, None)
        engine = lasting or FailedEngine()
        stack.push_async_callback(off_the_loop, engine.close, CLOSE_SECONDS, "close-engine")
    detector: StreamDetector
    if given.detector is not None:
        detector = given.detector
    else:
        detector = await load("detector", lambda: _load_detector(settings), FailedDetector())
    recogniser = given.recogniser
    if recogniser is None:
        recogniser = await load("recogniser", lambda: _load_recogniser(settings), None)
    photos = PhotoStore(settings)
    stack.push_async_callback(off_the_loop, photos.close, CLOSE_SECONDS, "close-storage")
    limits = Limits(settings, metrics.refused, gpu=lambda: given.engine is None and _on_gpu(settings))
    burden = Load(metrics, patience=settings.frame_deadline_ms / 1000)
    burden.on_measured = Capacity(limits.admission, settings, cores()).update
    rooms = Rooms(
        settings=settings,
        metrics=metrics,
        engine=engine,
        detector=detector,
        photos=photos,
        recogniser=recogniser,
        limits=limits,
        load=burden,
    )
    burden.watchers = lambda: sum(len(one.watchers) for room in rooms.everywhere for one in room.participants.values())
    stack.push_async_callback(rooms.close)
    exemplars = ExemplarService(
        settings,
        photos,
        engine,
        detector,
        rooms,
        recogniser=recogniser,
        refused=metrics.refused,
        elsewhere=among.elsewhere if among else node or Nowhere(),
    )
    stack.push_async_callback(off_the_loop, exemplars.close, CLOSE_SECONDS, "close-photos")
    purging = supervised("purge", exemplars.purge_forever, metrics.failure)
    purge = asyncio.create_task(purging, name="purge expired exemplars")
    stack.push_async_callback(_cancelled, purge)
    kept = None
    if among is not None:
        rooms.numbers = among.numbers
    else:
        kept = await asyncio.to_thread(open_kept, settings.data / "figures.db", lambda: metrics.failure("figures"))
    if kept is not None:
        rooms.numbers = itertools.count(1 + kept.last_stream)
        stack.push_async_callback(off_the_loop, kept.close, CLOSE_SECONDS, "close-figures")
    machine = Machine(others=(lambda: engines.pids) if engines else tuple)
    keeper = Keeper(metrics, kept, rooms.streams, machine)
    keeping = asyncio.create_task(supervised("figures", keeper.run, metrics.failure), name="keep figures")
    stack.push_async_callback(_cancelled, keeping)
    looking = asyncio.create_task(supervised("load", burden.run, metrics.failure), name="load")
    stack.push_async_callback(_cancelled, looking)
    drain = Drain(rooms, settings.drain_s)
    storage = StorageCheck(photos.check)
    return Relay(
        settings,
        access,
        metrics,
        engine,
        detector,
        recogniser,
        photos,
        storage,
        rooms,
        exemplars,
        limits,
        burden,
        drain,
        kept,
        failures,
        lasting,
    )


def _shared_engine(settings: Settings, metrics: Metrics) -> Engine:
    """The cluster's engines; one on this machine's CPU where none of them answers."""
    from hime_core.engine import weights_for
    from hime_core.model.hime import Hime
    from server.cluster.pool import pooled

    scale = Hime.from_pretrained(weights_for(settings.weights, "cpu")).config.scale
    own = settings.model_copy(update={"device": "cpu"})
    return pooled(
        settings,
        scale,
        lambda: own_engine(own, metrics),
        lambda seconds: metrics.stage("enhance", seconds),
        lambda: metrics.failure("engine"),
    )


def _on_gpu(settings: Settings) -> bool:
    """Whether a graphics card enhances."""
    if settings.device != "auto":
        return settings.device == "cuda"
    import torch

    return torch.cuda.is_available()


def _load_detector(settings: Settings) -> StreamDetector:
    """On the graphics card, all streams' searches go there together."""
    from hime_core.faces.detector import MtcnnDetector, ScanningDetector
    from hime_core.faces.mtcnn import SharedNetworks

    networks = None
    if _on_gpu(settings):
        try:
            networks = SharedNetworks("cuda")
        except Exception:
            log.exception("the graphics card cannot be used, faces are searched on the CPU")
    return ScanningDetector(MtcnnDetector(networks=networks))


def _load_recogniser(settings: Settings) -> Recogniser | None:
    from hime_core.faces.recognisers import load_recogniser

    return load_recogniser(settings.identity_weights or None)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _before_body(limits: Limits, path: str, address: str) -> None:
    """Raises Problem 429: photos are many bytes, which are not read where they are too many."""
    if path.startswith("/api/people/"):
        limits.uploads.take(address)


def _version() -> str:
    try:
        return version("hime-relay")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
