"""ONNX Runtime: every network on a CPU, those with flow guidance too."""

from __future__ import annotations

import numpy as np
import onnxruntime

from hime_core.arrays import Array
from hime_core.engine.onnx_graph import build_graph
from hime_core.model.hime import Hime
from hime_core.threads import cpu_lanes


class OnnxBackend:
    """ONNX Runtime, one CPU thread a face: every network, those with flow guidance too, which `NcnnBackend` lacks."""

    max_batch = cutters = 1

    def __init__(self, model: Hime) -> None:
        self.scale = model.config.scale
        self.lanes = cpu_lanes()
        self._mirrored = model.config.mirrored
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            build_graph(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def infer(self, lr: Array, references: Array) -> Array:
        return np.stack([self._one(face, refs) for face, refs in zip(lr, references, strict=True)])

    def _one(self, lr: Array, references: Array) -> Array:
        face = lr.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
        refs = references[:, None].astype(np.float32) / np.float32(255)
        sr = self._answer(face, refs)
        if self._mirrored:
            sr = (sr + self._answer(face[..., ::-1], refs[..., ::-1])[..., ::-1]) / 2
        return np.clip(sr.transpose(1, 2, 0) * 255 + 0.5, 0, 255).astype(np.uint8)

    def _answer(self, lr: Array, references: Array) -> Array:
        """The graph's: (1, 3, h, w) and (R, 1, s*h, s*w) to (3, s*h, s*w)."""
        inputs = {"lr": np.ascontiguousarray(lr), "references": np.ascontiguousarray(references)}
        sr: Array = self._session.run(None, inputs)[0][0]
        return sr
