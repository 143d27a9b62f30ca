"""CUDA graphs of a training step: its thousands of small kernels are launched as one, which leaves the processors to
those who make pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE

Tensors = dict[str, Tensor]
Shape = tuple[torch.Size, ...]  # of all tensors of a batch
WARM_UP = 3  # steps of a shape made as usual before it is captured: they choose kernels and make the optimisers' state


class Replay:
    """Runs `step`, tensors on the GPU to tensors there; from the fourth batch of one shape on, as a graph.

    What `step` reads beside its batch must lie on the device and be changed in place; it may not wait for the device.
    """

    def __init__(self, step: Callable[[Tensors], Tensors]) -> None:
        self._step = step
        self._seen: Counter[Shape] = Counter()
        self._graphs: dict[Shape, tuple[torch.cuda.CUDAGraph, Tensors, Tensors]] = {}
        self._pool: _POOL_HANDLE | None = None
        self._beside = torch.cuda.Stream()

    def __call__(self, batch: Tensors) -> Tensors:
        shape = tuple(value.shape for value in batch.values())
        if shape not in self._graphs:
            self._seen[shape] += 1
            if self._seen[shape] <= WARM_UP:
                return self._as_usual(batch)
            self._graphs[shape] = self._captured(batch)
        graph, inputs, outputs = self._graphs[shape]
        for name, value in batch.items():
            inputs[name].copy_(value)
        graph.replay()
        return {name: value.clone() for name, value in outputs.items()}  # the next replay writes over them

    def _as_usual(self, batch: Tensors) -> Tensors:
        """Beside the main stream, as what autograd keeps of a step there cannot be captured."""
        main = torch.cuda.current_stream()
        self._beside.wait_stream(main)
        with torch.cuda.stream(self._beside):
            outputs = self._step(batch)
        main.wait_stream(self._beside)
        return outputs

    def _captured(self, batch: Tensors) -> tuple[torch.cuda.CUDAGraph, Tensors, Tensors]:
        graph = torch.cuda.CUDAGraph()
        inputs = {name: value.clone() for name, value in batch.items()}
        # Thread-local: the loader's thread pins memory meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = self._step(inputs)
        self._pool = graph.pool()
        return graph, inputs, outputs


def restore(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Loads what an optimiser remembers, also what was saved on another kind of device, and keeps its own options and
    the tensor of its rate, which a graph reads."""
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": optimizer.state_dict()["param_groups"]})
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
