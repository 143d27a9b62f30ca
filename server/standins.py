"""What stands in for a part that failed to load: calls go on unenhanced, and /readyz says why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future

from hime_core.arrays import U8, Array
from hime_core.engine.protocol import FaceRequest
from hime_core.faces.detector import Detection
from hime_core.faces.geometry import Box


class FailedEngine:
    """An Engine whose every request fails, so that every frame passes and is counted."""

    scale = 4

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future[U8]]:
        futures: list[Future[U8]] = [Future() for _ in requests]
        for future in futures:
            future.set_exception(RuntimeError("the network could not be loaded"))
        return futures

    def forget(self, exemplar_ids: Iterable[str]) -> None: ...

    def close(self) -> None: ...


class FailedDetector:
    """A detector that finds no face."""

    def for_stream(self) -> FailedDetector:
        return self

    def detect(self, rgb: Array, last: Sequence[Box] = ()) -> list[Detection]:
        return []
