"""Batched inference over the faces of all streams."""

from __future__ import annotations

from collections.abc import Callable

from hime_core.engine.protocol import Engine, FaceRequest
from hime_core.engine.torch_engine import Overload, TorchEngine
from hime_core.model.checkpoint import DEFAULT_WEIGHTS, load_weights

__all__ = ["Engine", "FaceRequest", "Overload", "TorchEngine", "build_engine"]


def build_engine(
    weights: str = DEFAULT_WEIGHTS,
    device: str | None = None,
    on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    on_wait: Callable[[float], None] = lambda seconds: None,
) -> Engine:
    """The engine for a checkpoint, by name or file. device: "cpu", "cuda", or None for the best there is.

    Raises CheckpointError.
    """
    return TorchEngine(load_weights(weights), device, on_batch=on_batch, on_wait=on_wait)
