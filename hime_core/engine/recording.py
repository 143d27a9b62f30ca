"""A function of batches on a device; on CUDA each shape is recorded once, and pictures travel beside the computing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hime_core.arrays import Array

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE

MAX_GRAPHS = 128  # 1 to 32 faces of 6 LR sizes with 1 to 3 references are 108

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Graph:
    """One batch shape, recorded: its inputs and output stay in place."""

    replay: Callable[[], None]
    inputs: tuple[Tensor, ...]
    out: Tensor


class Recorded:
    """Runs a function of tensors on a device, for threads that take turns.

    The function takes batches and returns one, of the same length; it must not wait for the device. On CUDA, batches
    are padded to powers of two, and each shape is recorded once as a CUDA graph, as launching hundreds of small kernels
    takes longer than they do; a shape that cannot be recorded runs without. Batches travel through pinned memory on
    streams of their own: the next one arrives and the last one leaves while this one is computed.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device) -> None:
        self.device, self._function = device, function
        self._cuda = device.type == "cuda"
        if self._cuda:
            self._arrivals, self._computing, self._departures = (torch.cuda.Stream(device) for _ in range(3))
            self._computing.wait_stream(torch.cuda.current_stream(device))  # where weights are still being laid out
        self._graphs: dict[tuple[torch.Size, ...], _Graph | None] = {}
        self._memory: _POOL_HANDLE | None = None  # of all graphs: one runs at a time
        self._lock = threading.Lock()

    @property
    def shapes(self) -> int:
        """How many are recorded."""
        return sum(graph is not None for graph in self._graphs.values())

    def computing(self) -> AbstractContextManager[object]:
        """Inside, work on the device is done before what is launched later, and after what was launched before."""
        return torch.cuda.stream(self._computing) if self._cuda else nullcontext()

    @torch.inference_mode()
    def launch(self, *batches: Array) -> Callable[[], Array]:
        """Begins with the function of batches, arrays of like length. What it returns waits for the result."""
        if not self._cuda:
            result: Array = self._function(*(torch.from_numpy(batch) for batch in batches)).numpy()
            return lambda: result
        with torch.cuda.stream(self._arrivals):
            pinned = [padded(torch.from_numpy(batch)).pin_memory() for batch in batches]
            arrived = [tensor.to(self.device, non_blocking=True) for tensor in pinned]
            here = self._arrivals.record_event()
        # Launches take turns; all on one stream, so a graph's inputs and output are free for the next.
        with self._lock, torch.cuda.stream(self._computing):
            self._computing.wait_event(here)
            out = self._run(arrived)
            computed = self._computing.record_event()
        with torch.cuda.stream(self._departures):
            self._departures.wait_event(computed)
            host = torch.empty(out.shape, dtype=out.dtype, pin_memory=True)
            host.copy_(out, non_blocking=True)
            done = self._departures.record_event(torch.cuda.Event(blocking=True))  # the thread sleeps, not spins
        for tensor, stream in (*((tensor, self._computing) for tensor in arrived), (out, self._departures)):
            tensor.record_stream(stream)  # the allocator waits for their readers

        def wait() -> Array:
            done.synchronize()
            return host[: len(batches[0])].numpy()

        return wait

    def _run(self, inputs: list[Tensor]) -> Tensor:
        """On the computing stream, of tensors on the device."""
        key = tuple(tensor.shape for tensor in inputs)
        if key not in self._graphs and len(self._graphs) < MAX_GRAPHS:
            self._graphs[key] = self._record(inputs)
        graph = self._graphs.get(key)
        if graph is None:
            return self._function(*inputs)
        for place, tensor in zip(graph.inputs, inputs, strict=True):
            place.copy_(tensor)
        graph.replay()
        return graph.out.clone()  # the next replay writes over it, or over memory that it shares

    def _record(self, inputs: list[Tensor]) -> _Graph | None:
        places = tuple(tensor.clone() for tensor in inputs)
        try:
            side = torch.cuda.Stream(self.device)
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):  # libraries choose their kernels, and allocate, outside the recording
                    self._function(*places)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):  # other lanes go on
                out = self._function(*places)
            self._memory = graph.pool()
        except RuntimeError as error:
            log.warning("no CUDA graph for %s: %s", tuple(inputs[0].shape), error)
            return None
        return _Graph(graph.replay, places, out)


def padded(batch: Tensor) -> Tensor:
    """The batch with its last entry repeated up to the next power of two."""
    missing = (1 << (len(batch) - 1).bit_length()) - len(batch)
    return torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])]) if missing else batch
