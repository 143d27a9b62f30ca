"""Stand-ins for the engine and the detector, where a benchmark or a test asks something else than they."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:  # which brings torch with it
    from hime_core.engine.protocol import FaceRequest

SCALE = 0.17
# In the astronaut's picture: the box as x, y, width, height, and the five points.
FACE = 177, 66, 88, 118
LANDMARKS = ((201, 110), (243, 108), (224, 134), (206, 154), (243, 152))


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


class EnlargingEngine:
    """Answers at once, with the face enlarged."""

    scale = 4

    def submit(self, requests: Sequence[Any]) -> list[Future[np.ndarray]]:
        futures: list[Future[np.ndarray]] = []
        for request in requests:
            futures.append(Future())
            futures[-1].set_result(cv2.resize(request.lr, None, fx=4, fy=4, interpolation=cv2.INTER_LANCZOS4))
        return futures

    def forget(self, exemplar_ids: Iterable[str]) -> None: ...

    def close(self) -> None: ...


class OneFarFace:
    """Finds the face that `picture_of_a_face` shows."""

    def for_stream(self) -> OneFarFace:
        return self

    def detect(self, rgb: np.ndarray, last: Sequence[Any] = ()) -> list[Any]:
        from hime_core.faces.detector import Detection
        from hime_core.faces.geometry import Box

        x, y = place(rgb.shape[1], rgb.shape[0])
        box = Box(x + FACE[0] * SCALE, y + FACE[1] * SCALE, FACE[2] * SCALE, FACE[3] * SCALE)
        return [Detection(box, (np.array(LANDMARKS) * SCALE + (x, y)).astype(np.float32), 0.99)]


def place(width: int, height: int) -> tuple[int, int]:
    """Where the portrait's corner is."""
    return width // 2 - round(256 * SCALE), height // 3


def picture_of_a_face(luma: np.ndarray) -> np.ndarray:
    """The luma with scikit-image's portrait in it, its headshot about 34 px."""
    from skimage.data import astronaut

    small = cv2.resize(astronaut(), None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
    shown = np.full_like(luma, 90)
    x, y = place(luma.shape[1], luma.shape[0])
    shown[y : y + small.shape[0], x : x + small.shape[1]] = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return shown
