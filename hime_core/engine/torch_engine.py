"""The engine on PyTorch: one thread that takes whatever faces wait, in batches of like size."""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from hime_core.engine.protocol import FaceRequest
from hime_core.engine.references import ReferenceCutter
from hime_core.model.hime import Hime

Work = tuple[FaceRequest, "Future[np.ndarray]", float]  # the time it was queued


class TorchEngine:
    """Runs HIME for all streams of a process.

    max_batch: faces in one call of the network; capacity: faces that may wait, more are refused with `Overload`;
    on_batch: told each batch's size and seconds; on_wait: told each face's seconds in the queue.
    """

    def __init__(
        self,
        model: Hime,
        device: str | None = None,
        max_batch: int = 16,
        capacity: int = 64,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
        on_wait: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.scale = model.config.scale
        self._model = model.to(self.device).eval()
        self._max_batch = max_batch
        self._on_batch = on_batch
        self._on_wait = on_wait
        self._cutter = ReferenceCutter(self.scale)
        self._queue: queue.Queue[Work | None] = queue.Queue(capacity)
        self._forgotten: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="hime-engine", daemon=True)
        self._thread.start()

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future[np.ndarray]]:
        return [self._put(request) for request in requests]

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        self._forgotten.put(tuple(exemplar_ids))

    def close(self) -> None:
        """Ends the thread; faces that still wait are cancelled."""
        self._closed = True
        with suppress(queue.Full):  # then the thread sees _closed after its batch
            self._queue.put_nowait(None)
        self._thread.join(timeout=5)
        while not self._queue.empty():
            work = self._queue.get_nowait()
            if work:
                work[1].cancel()

    def enhance(self, requests: Sequence[FaceRequest]) -> list[np.ndarray]:
        """The same without a queue, for tests and measurements. All of one size and number of references."""
        references = np.stack([self._cutter.references(r) for r in requests])
        return list(self._infer(np.stack([r.lr for r in requests]), references))

    def _put(self, request: FaceRequest) -> Future[np.ndarray]:
        future: Future[np.ndarray] = Future()
        try:
            self._queue.put_nowait((request, future, time.perf_counter()))
        except queue.Full:
            future.set_exception(Overload("the engine's queue is full"))
        return future

    def _serve(self) -> None:
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # more collapse as soon as another load runs beside them
        while not self._closed:
            first = self._queue.get()
            if first is None:
                return
            waiting = [first]
            while len(waiting) < self._max_batch:
                try:
                    work = self._queue.get_nowait()
                except queue.Empty:
                    break
                if work is None:
                    return
                waiting.append(work)
            while not self._forgotten.empty():
                self._cutter.forget(self._forgotten.get())
            groups: dict[tuple[int, int], list[Work]] = defaultdict(list)
            for work in waiting:
                if work[1].set_running_or_notify_cancel():
                    groups[work[0].lr.shape[0], max(1, len(work[0].exemplars))].append(work)
            for group in groups.values():
                self._run(group)

    def _run(self, group: list[Work]) -> None:
        start = time.perf_counter()
        for _, _, queued in group:
            self._on_wait(start - queued)
        try:
            results = self.enhance([request for request, _, _ in group])
        except Exception as error:
            for _, future, _ in group:
                future.set_exception(error)
            return
        for (_, future, _), result in zip(group, results, strict=True):
            future.set_result(result)
        self._on_batch(len(group), time.perf_counter() - start)

    @torch.inference_mode()
    def _infer(self, lr: np.ndarray, references: np.ndarray) -> np.ndarray:
        """lr: uint8 (N, L, L, 3); references: uint8 (N, R, sL, sL). Returns uint8 (N, sL, sL, 3)."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            sr = self._model(self._upload(lr).permute(0, 3, 1, 2).contiguous(), self._upload(references).unsqueeze(2))
        out = sr.float().mul(255.0).add_(0.5).clamp_(0, 255).to(torch.uint8)
        return out.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def _upload(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device).float().div_(255.0)


class Overload(RuntimeError):
    """The engine takes no more for now."""
