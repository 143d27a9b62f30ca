"""From a bank's exemplar to the network's reference: cut, laid over the face, registered."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable

import cv2
import numpy as np

from hime_core.bank import Exemplar
from hime_core.engine.protocol import FaceRequest
from hime_core.registration import Registration, luma, similarity

FORGOTTEN = 1024  # exemplars that are remembered as forgotten
STEP = math.log(1.1)  # prepared sizes lie 10 % apart


class ReferenceCutter:
    """Makes the reference stack of a request; keeps exemplars prepared at the sizes in use. For one thread.

    capacity: prepared lumas kept, the least recently used dropped first (each at most 768 px, 0.6 MB).
    """

    def __init__(self, scale: int, capacity: int = 64) -> None:
        self.scale = scale
        self.capacity = capacity
        self._registration = Registration()
        self._prepared: OrderedDict[tuple[str, int], tuple[np.ndarray, float]] = OrderedDict()
        self._forgotten: deque[str] = deque(maxlen=FORGOTTEN)

    def references(self, request: FaceRequest) -> np.ndarray:
        """Luma uint8 (R, scale*L, scale*L), R at least 1: black where there is no exemplar."""
        side = request.lr.shape[0] * self.scale
        if not request.exemplars:
            return np.zeros((1, side, side), np.uint8)
        lr_luma = luma(request.lr)
        return np.stack([self._reference(e, request.landmarks, side, lr_luma) for e in request.exemplars])

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        """Drops what is prepared of them, and keeps nothing of them from now on: a request that was made before may
        still come."""
        gone = set(exemplar_ids)
        self._forgotten.extend(gone)
        for key in [key for key in self._prepared if key[0] in gone]:
            del self._prepared[key]

    def _reference(self, exemplar: Exemplar, landmarks: np.ndarray, side: int, lr_luma: np.ndarray) -> np.ndarray:
        target = (landmarks.astype(np.float64) + 0.5) * self.scale - 0.5
        to_canvas = similarity(exemplar.landmarks.astype(np.float64), target)
        rescale = math.hypot(to_canvas[0, 0], to_canvas[1, 0])
        image, prepared_scale = self._prepare(exemplar, rescale)
        # The prepared picture is smaller by prepared_scale: x = (x' + 0.5) / prepared_scale - 0.5.
        shrink = 1.0 / prepared_scale
        offset = 0.5 * shrink - 0.5
        matrix = to_canvas.copy()
        matrix[:, :2] *= shrink
        matrix[:, 2] += to_canvas[:, :2] @ (offset, offset)
        cut = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return self._registration.register(cut, lr_luma)

    def _prepare(self, exemplar: Exemplar, rescale: float) -> tuple[np.ndarray, float]:
        """The exemplar's luma, reduced by area where the canvas is coarser than it is, as warping would alias."""
        step = min(0, round(math.log(rescale) / STEP))
        key = (exemplar.id, step)
        found = self._prepared.get(key)
        if found is None:
            image = luma(exemplar.image)
            size = max(1, round(image.shape[1] * math.exp(step * STEP)))
            height = max(1, round(image.shape[0] * size / image.shape[1]))
            scale = size / image.shape[1]
            if step:
                image = cv2.resize(image, (size, height), interpolation=cv2.INTER_AREA)
            found = (image, scale)
            if exemplar.id in self._forgotten:
                return found
            self._prepared[key] = found
            while len(self._prepared) > self.capacity:
                self._prepared.popitem(last=False)
        else:
            self._prepared.move_to_end(key)
        return found
