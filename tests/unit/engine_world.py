"""An engine of a process of its own, but for the process: its side runs in a thread, and a worker's side here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np

from hime_core.engine import BatchingEngine, Engine, FaceRequest
from hime_core.engine.protocol import Backend
from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import Headshot
from server.engines import wire
from server.engines.remote import RemoteEngine, connected
from server.engines.service import Service, Told

LANDMARKS = np.float32([[12, 13], [20, 13], [16, 18], [13, 22], [19, 22]])


class Enlarging:
    """A backend that repeats each pixel; `before` runs before each batch, with its size."""

    scale, lanes, cutters = 4, 1, 1

    def __init__(self, before: Callable[[int], None] = lambda size: None, max_batch: int = 4) -> None:
        self.before, self.max_batch = before, max_batch

    def infer(self, lr: np.ndarray, references: np.ndarray) -> np.ndarray:
        self.before(len(lr))
        return np.repeat(np.repeat(lr, 4, 1), 4, 2)


@dataclass
class World:
    path: Path
    service: Service
    engine: Any
    batches: list[tuple[int, float]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def worker(self) -> RemoteEngine:
        """One more of them."""
        return connected(self.path, 10, lambda *batch: self.batches.append(batch), self.waits.append)

    @property
    def held(self) -> int:
        """Exemplars that the engine's side holds."""
        return sum(len(client.exemplars) for client in list(self.service.clients))

    def exemplars(self) -> WeakSet[Exemplar]:
        """Those that the engine's side has just now, for as long as anything there holds them."""
        return WeakSet(one for client in list(self.service.clients) for one in list(client.exemplars.values()))


@contextmanager
def engine_world(
    folder: Path, backend: Backend | None = None, capacity: int = 64, engine: Engine | None = None
) -> Iterator[World]:
    """engine: instead of one that batches for a backend."""
    path, told, running = folder / "engine.sock", Told(), True
    engine = engine or BatchingEngine(backend or Enlarging(), capacity, told.batch, told.wait)
    with wire.connection() as listener:
        listener.bind(str(path))
        listener.listen()
        service = Service(listener, engine, told)
        thread = threading.Thread(target=service.run, args=(0.02, lambda: None, lambda: running))
        thread.start()
        try:
            yield World(path, service, engine)
        finally:
            running = False
            thread.join(10)
            engine.close()


def exemplar(name: str = "a", size: int = 64, step: float | None = None) -> Exemplar:
    image = np.random.default_rng(len(name) + size).integers(0, 256, (size, size, 3), np.uint8)
    shot, points = Headshot(size / 2, size / 2, size / 2), LANDMARKS * (size / 32)
    return Exemplar(name, image, shot, points, 0.8, 3.0, 0.5, "call", 7, 1.5, 48.0, step, 3)


def face(*exemplars: Exemplar, side: int = 32, value: int | None = None, **more: object) -> FaceRequest:
    """value: of all pixels; noise without it."""
    lr = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    if value is not None:
        lr[:] = value
    return FaceRequest(lr, LANDMARKS * (side / 32), exemplars, **more)  # type: ignore[arg-type]


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
