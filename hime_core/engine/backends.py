"""Two ways to run the network on a batch of faces."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from hime_core.engine.onnx_graph import build_graph
from hime_core.model.hime import Hime


class Backend(Protocol):
    scale: int
    max_batch: int  # faces that are best run together

    def infer(self, lr: np.ndarray, references: np.ndarray) -> np.ndarray:
        """lr: uint8 (N, L, L, 3); references: luma uint8 (N, R, sL, sL), R at least 1. Returns uint8 (N, sL, sL, 3)."""
        ...


class TorchBackend:
    """PyTorch: for CUDA, and the reference that others are measured against."""

    def __init__(self, model: Hime, device: str) -> None:
        self.device = torch.device(device)
        self.scale = model.config.scale
        self.max_batch = 16 if self.device.type == "cuda" else 1
        self._model = model.to(self.device).eval()

    @torch.inference_mode()
    def infer(self, lr: np.ndarray, references: np.ndarray) -> np.ndarray:
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # more collapse as soon as another load runs beside them
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            sr = self._model(self._upload(lr).permute(0, 3, 1, 2).contiguous(), self._upload(references).unsqueeze(2))
        out = sr.float().mul(255.0).add_(0.5).clamp_(0, 255).to(torch.uint8)
        return out.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def _upload(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device).float().div_(255.0)


class OnnxBackend:
    """ONNX Runtime on one CPU thread: its deformable convolution is several times as fast as PyTorch's."""

    max_batch = 1

    def __init__(self, model: Hime) -> None:
        self.scale = model.config.scale
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            build_graph(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def infer(self, lr: np.ndarray, references: np.ndarray) -> np.ndarray:
        return np.stack([self._one(face, refs) for face, refs in zip(lr, references, strict=True)])

    def _one(self, lr: np.ndarray, references: np.ndarray) -> np.ndarray:
        inputs = {
            "lr": lr.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255),
            "references": references[:, None].astype(np.float32) / np.float32(255),
        }
        (sr,) = self._session.run(None, inputs)
        return np.clip(sr[0].transpose(1, 2, 0) * 255 + 0.5, 0, 255).astype(np.uint8)
