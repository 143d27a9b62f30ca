"""The engine that a relay asks, whatever happens to the one behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hime_core.arrays import U8
from hime_core.engine import Engine, FaceRequest, FailoverConfig, FailoverEngine, Gone
from hime_core.model.hime import HimeConfig
from server.engines.load import load_engine
from server.engines.remote import connected
from server.observability.metrics import Metrics
from server.settings import Settings

START_WITHIN = 120.0  # seconds that a worker waits for an engine process before it serves without one
BACK_WITHIN = 60.0  # seconds that a new one has, before it is tried anew
# The process itself looks after what it runs, and its keeper after the process, both sooner than this.
OF_CONNECTION = FailoverConfig(failed_faces=32, failed_for=15.0, hangs=20.0, every=0.1, pauses=(0.5, 10.0))

ANY = FaceRequest(np.zeros((16, 16, 3), np.uint8), np.zeros((5, 2), np.float32), ())


def own_engine(settings: Settings, metrics: Metrics) -> FailoverEngine:
    """In this process; one on the CPU takes over where it fails. Raises what building it raises."""
    torch.set_num_threads(1)
    failed, waited = partial(metrics.failure, "engine"), partial(metrics.stage, "queue")
    load = partial(load_engine, settings.weights, on_batch=partial(_batch, metrics), on_wait=waited)
    return FailoverEngine(load(settings.device, on_failure=failed), partial(load, "cpu"), failed)


def remote_engine(path: Path, metrics: Metrics) -> FailoverEngine:
    """In the process that listens at a socket, or in the one that follows it. Raises RuntimeError where that cannot
    load it."""
    torch.set_num_threads(1)
    connect = partial(connected, path, on_batch=partial(_batch, metrics), on_wait=partial(metrics.stage, "queue"))
    lost = partial(metrics.failure, "engine_connection")
    try:
        first: Engine = connect(START_WITHIN)
    except TimeoutError:
        first = NotYet()
    engine = FailoverEngine(first, partial(connect, BACK_WITHIN), lost, OF_CONNECTION)
    if isinstance(first, NotYet):
        engine.submit([ANY])  # by which it is known to be missing
    return engine


class NotYet:
    """An Engine that is gone already."""

    scale = HimeConfig().scale  # of all bundled networks

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future[U8]]:
        futures: list[Future[U8]] = [Future() for _ in requests]
        for future in futures:
            future.set_exception(Gone("the engine process is not there yet"))
        return futures

    def forget(self, exemplar_ids: Iterable[str]) -> None: ...

    def close(self) -> None: ...


def _batch(metrics: Metrics, size: int, seconds: float) -> None:
    metrics.batch(size)
    metrics.stage("enhance", seconds)
