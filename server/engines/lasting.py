"""The engine that a relay asks, whatever happens to the one behind it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from hime_core.engine import FailoverConfig, FailoverEngine
from server.engines.load import load_engine, on_cpu
from server.engines.remote import connected
from server.observability.metrics import Metrics
from server.settings import Settings

START_WITHIN = 300.0  # seconds that an engine process has at first
BACK_WITHIN = 60.0  # seconds that a new one has, before it is tried anew
# The process itself looks after what it runs, and its keeper after the process, both sooner than this.
OF_CONNECTION = FailoverConfig(failed_faces=32, failed_for=15.0, hangs=20.0, every=0.1, pauses=(0.5, 10.0))


def own_engine(settings: Settings, metrics: Metrics) -> FailoverEngine:
    """In this process; one on the CPU takes over where it fails. Raises what building it raises."""
    torch.set_num_threads(1)
    failed = partial(metrics.failure, "engine")
    load = partial(load_engine, on_batch=partial(_batch, metrics), on_wait=partial(metrics.stage, "queue"))
    return FailoverEngine(load(settings, on_failure=failed), lambda: load(on_cpu(settings)), failed)


def remote_engine(path: Path, metrics: Metrics) -> FailoverEngine:
    """In the process that listens at a socket, or in the one that follows it. Raises RuntimeError where that cannot
    load it, or is not there in time."""
    torch.set_num_threads(1)
    connect = partial(connected, path, on_batch=partial(_batch, metrics), on_wait=partial(metrics.stage, "queue"))
    lost = partial(metrics.failure, "engine_connection")
    return FailoverEngine(connect(START_WITHIN), partial(connect, BACK_WITHIN), lost, OF_CONNECTION)


def _batch(metrics: Metrics, size: int, seconds: float) -> None:
    metrics.batch(size)
    metrics.stage("enhance", seconds)
