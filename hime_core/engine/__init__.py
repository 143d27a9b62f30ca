"""Batched inference over the faces of all streams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from hime_core.engine.batching import BatchingEngine
from hime_core.engine.device_runner import DeviceRunner
from hime_core.engine.failover import FailoverConfig, FailoverEngine
from hime_core.engine.host_runner import HostRunner
from hime_core.engine.ncnn_backend import NcnnBackend
from hime_core.engine.protocol import Backend, Engine, FaceRequest, FaceRunner, Gone, Late, Overload
from hime_core.engine.torch_backend import TorchBackend
from hime_core.faces.geometry import LR_SIDES
from hime_core.model.checkpoint import DEFAULT_WEIGHTS
from hime_core.model.hime import Hime

__all__ = [
    "Backend",
    "BatchingEngine",
    "DeviceRunner",
    "Engine",
    "FaceRequest",
    "FaceRunner",
    "FailoverConfig",
    "FailoverEngine",
    "Gone",
    "HostRunner",
    "Late",
    "NcnnBackend",
    "Overload",
    "TorchBackend",
    "best_device",
    "build_backend",
    "build_engine",
    "build_runner",
    "weights_for",
]

WARM_UP = 2.0  # seconds, for what has few faces to do: shapes that are left are recorded when first met
# On clips of calls the two are alike (hime_core/weights/tiny-x4-call.md); tiny takes under half of the time.
AUTO_WEIGHTS = {"cpu": "tiny-x4-call", "cuda": DEFAULT_WEIGHTS}


def best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def weights_for(weights: str, device: str) -> str:
    """The checkpoint that "auto" is on a device; any other name as it is."""
    return AUTO_WEIGHTS[device] if weights == "auto" else weights


def build_backend(model: Hime, device: str) -> Backend:
    """What runs a network fastest on a device, "cpu" or "cuda", with references cut elsewhere."""
    return NcnnBackend(model) if device == "cpu" else TorchBackend(model, device)


def build_runner(model: Hime, device: str, warm_up: float = WARM_UP) -> FaceRunner:
    """What enhances faces fastest on a device, references included. warm_up: seconds that a GPU records shapes for."""
    if device == "cpu":
        backend = build_backend(model, device)
        _warm_up(backend)
        return HostRunner(backend)
    runner = DeviceRunner(model, device)
    runner.warm_up(warm_up)
    return runner


def build_engine(
    weights: str = "auto",
    device: str | None = None,
    on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    on_wait: Callable[[float], None] = lambda seconds: None,
    warm_up: float = WARM_UP,
) -> BatchingEngine:
    """The engine for a checkpoint, by name or file, or "auto". device: "cpu", "cuda", or None for the best there is;
    warm_up: as `build_runner` has it.

    Raises CheckpointError.
    """
    device = device or best_device()
    model = Hime.from_pretrained(weights_for(weights, device))
    return BatchingEngine(build_runner(model, device, warm_up), on_batch=on_batch, on_wait=on_wait)


def _warm_up(backend: Backend) -> None:
    """The first faces take many times as long as the rest: these are not a person's."""
    for side in LR_SIDES[:3]:
        face = np.zeros((1, side, side, 3), np.uint8)
        backend.infer(face, np.zeros((1, 3, side * backend.scale, side * backend.scale), np.uint8))
