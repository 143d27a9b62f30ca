"""PyTorch: for CUDA, and the reference that the other backends are measured against."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from hime_core.arrays import U8
from hime_core.engine.recording import Recorded
from hime_core.model.hime import Hime

CUDA_BATCH = 16
CUDA_LANES = 4  # cutting references takes CPU time: several batches are prepared beside the one that computes
CORES_PER_CUTTER = 2  # where a GPU runs faces


class Network:
    """The network on a device. On CUDA its convolutions run in bf16, channels last, its sampling in float32."""

    def __init__(self, model: Hime, device: torch.device) -> None:
        self.scale, self._device = model.config.scale, device
        self._cuda = device.type == "cuda"
        self._model = model.to(device).eval()
        if self._cuda:
            self._model.to(memory_format=torch.channels_last)

    def __call__(self, lr: Tensor, references: Tensor) -> Tensor:
        """uint8 (N, L, L, 3) and luma 0..255 (N, R, sL, sL) to uint8 (N, sL, sL, 3), on the device."""
        # Without autocast's cache: its copies of the weights would belong to one recording.
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._cuda, cache_enabled=False):
            face = lr.permute(0, 3, 1, 2).float().div_(255.0)  # channels last as it is
            refs = references.unsqueeze(2).float().div(255.0)
            sr: Tensor = self._model(face if self._cuda else face.contiguous(), refs)
        out = sr.float().mul(255.0).add_(0.5).clamp_(0, 255).to(torch.uint8)
        return out.permute(0, 2, 3, 1).contiguous()


class TorchBackend:
    """PyTorch: for CUDA, and the reference that others are measured against. References are cut on the host."""

    def __init__(self, model: Hime, device: str) -> None:
        self.device = torch.device(device)
        self.scale = model.config.scale
        self._cuda = self.device.type == "cuda"
        self.max_batch = CUDA_BATCH if self._cuda else 1
        self.lanes = CUDA_LANES if self._cuda else 1
        self.cutters = max(1, (os.cpu_count() or 1) // CORES_PER_CUTTER) if self._cuda else 1
        self.recorded = Recorded(Network(model, self.device), self.device)

    def infer(self, lr: U8, references: U8) -> U8:
        if not self._cuda:
            torch.set_num_threads(1)  # more collapse as soon as another load runs beside them
        result: U8 = self.recorded.launch(lr, references)()
        return result
