"""Stand-ins for the network, which take as long as they are told to."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

import cv2
import numpy as np

from hime_core.engine.protocol import FaceRequest


class SlowEngine:
    """Answers after `delay` seconds with the face plainly enlarged and sharpened; takes no processor time to wait."""

    scale = 4

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future[np.ndarray]]:
        futures: list[Future[np.ndarray]] = []
        for request in requests:
            future: Future[np.ndarray] = Future()
            side = request.lr.shape[0] * self.scale
            plain = cv2.resize(request.lr, (side, side), interpolation=cv2.INTER_CUBIC)
            sharp = cv2.addWeighted(plain, 1.5, cv2.GaussianBlur(plain, (0, 0), 2), -0.5, 0)
            timer = threading.Timer(self.delay, future.set_result, (sharp,))
            timer.daemon = True
            timer.start()
            futures.append(future)
        return futures

    def forget(self, exemplar_ids: Iterable[str]) -> None: ...

    def close(self) -> None: ...
