"""PyTorch: for CUDA, and the reference that the other backends are measured against."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hime_core.arrays import U8
from hime_core.model.hime import Hime

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE

CUDA_BATCH = 16
CUDA_LANES = 4  # cutting references takes CPU time: several batches are prepared beside the one that computes
CORES_PER_CUTTER = 2  # where a GPU runs faces
MAX_GRAPHS = 48  # 1 to 16 faces of 3 LR sizes with 1 to 3 references fit

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Graph:
    """One batch shape, recorded: its inputs and output stay in place."""

    replay: Callable[[], None]
    lr: Tensor
    references: Tensor
    out: Tensor


class TorchBackend:
    """PyTorch: for CUDA, and the reference that others are measured against.

    On CUDA the convolutions run in bf16, channels last, and the deformable sampling in float32.
    Batches are padded to powers of two, and each shape is recorded once as a CUDA graph, as launching this network's
    200 small kernels takes longer than they do; a shape that cannot be recorded runs without. Pictures travel as bytes
    through pinned memory, a few hundred kB a batch, on streams of their own: the next batch arrives and the last one
    leaves while this one is computed.
    """

    def __init__(self, model: Hime, device: str) -> None:
        self.device = torch.device(device)
        self.scale = model.config.scale
        self._cuda = self.device.type == "cuda"
        self.max_batch = CUDA_BATCH if self._cuda else 1
        self.lanes = CUDA_LANES if self._cuda else 1
        self.cutters = max(1, (os.cpu_count() or 1) // CORES_PER_CUTTER) if self._cuda else 1
        self._model = model.to(self.device).eval()
        if self._cuda:
            self._model.to(memory_format=torch.channels_last)
            self._arrivals, self._computing, self._departures = (torch.cuda.Stream() for _ in range(3))
        self._graphs: dict[tuple[torch.Size, torch.Size], _Graph | None] = {}
        self._memory: _POOL_HANDLE | None = None  # of all graphs: one runs at a time
        self._lock = threading.Lock()

    @torch.inference_mode()
    def infer(self, lr: U8, references: U8) -> U8:
        if not self._cuda:
            torch.set_num_threads(1)  # more collapse as soon as another load runs beside them
            return self._forward(torch.from_numpy(lr), torch.from_numpy(references)).numpy()
        with torch.cuda.stream(self._arrivals):
            pinned = [padded(torch.from_numpy(a)).pin_memory() for a in (lr, references)]
            arrived = [t.to(self.device, non_blocking=True) for t in pinned]
            here = self._arrivals.record_event()
        # Launches take turns; all on one stream, so a graph's inputs and output are free for the next.
        with self._lock, torch.cuda.stream(self._computing):
            self._computing.wait_event(here)
            out = self._run(*arrived)
            computed = self._computing.record_event()
        with torch.cuda.stream(self._departures):
            self._departures.wait_event(computed)
            host = torch.empty(out.shape, dtype=out.dtype, pin_memory=True)
            host.copy_(out, non_blocking=True)
            done = self._departures.record_event(torch.cuda.Event(blocking=True))  # the thread sleeps, not spins
        for tensor, stream in ((arrived[0], self._computing), (arrived[1], self._computing), (out, self._departures)):
            tensor.record_stream(stream)  # the allocator waits for their readers
        done.synchronize()
        return host[: len(lr)].numpy()

    def _run(self, lr: Tensor, references: Tensor) -> Tensor:
        """On the computing stream, of tensors on the device."""
        key = lr.shape, references.shape
        if key not in self._graphs and len(self._graphs) < MAX_GRAPHS:
            self._graphs[key] = self._record(lr, references)
        graph = self._graphs.get(key)
        if graph is None:
            return self._forward(lr, references)
        graph.lr.copy_(lr)
        graph.references.copy_(references)
        graph.replay()
        return graph.out.clone()  # the next replay writes over it, or over memory that it shares

    def _record(self, lr: Tensor, references: Tensor) -> _Graph | None:
        lr, references = lr.clone(), references.clone()
        try:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):  # libraries choose their kernels, and allocate, outside the recording
                    self._forward(lr, references)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):  # other lanes go on
                out = self._forward(lr, references)
            self._memory = graph.pool()
        except RuntimeError as error:
            log.warning("no CUDA graph for %s: %s", tuple(lr.shape), error)
            return None
        return _Graph(graph.replay, lr, references, out)

    def _forward(self, lr: Tensor, references: Tensor) -> Tensor:
        """uint8 (N, L, L, 3) and (N, R, sL, sL) to uint8 (N, sL, sL, 3), on the device."""
        # Without autocast's cache: its copies of the weights would belong to one recording.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._cuda, cache_enabled=False):
            face = lr.permute(0, 3, 1, 2).float().div_(255.0)  # channels last as it is
            refs = references.unsqueeze(2).float().div_(255.0)
            sr: Tensor = self._model(face if self._cuda else face.contiguous(), refs)
        out = sr.float().mul(255.0).add_(0.5).clamp_(0, 255).to(torch.uint8)
        return out.permute(0, 2, 3, 1).contiguous()


def padded(batch: Tensor) -> Tensor:
    """The batch with its last entry repeated up to the next power of two."""
    missing = (1 << (len(batch) - 1).bit_length()) - len(batch)
    return torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])]) if missing else batch
