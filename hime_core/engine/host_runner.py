"""References cut on the host, the network wherever a backend runs it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from hime_core.arrays import U8
from hime_core.engine.protocol import Backend, FaceRequest
from hime_core.exemplars.references import ReferenceCutter


class HostRunner:
    """A FaceRunner over a backend. Each lane has the references of its batch cut: with several, one cuts while
    another computes."""

    def __init__(self, backend: Backend) -> None:
        self.scale, self.max_batch, self.lanes = backend.scale, backend.max_batch, backend.lanes
        self.cutter = ReferenceCutter(self.scale, backend.cutters)
        self._backend = backend

    def enhance(self, requests: Sequence[FaceRequest]) -> Sequence[U8]:
        references = self.cutter.stacks(requests)
        return list(self._backend.infer(np.stack([request.lr for request in requests]), references))

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        self.cutter.forget(exemplar_ids)

    def close(self) -> None:
        self.cutter.close()
