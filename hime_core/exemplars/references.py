"""From a bank's exemplar to the network's reference: cut, laid over the face, registered."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from hime_core.arrays import F32, U8, Array
from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.registration import Registration, luma, similarity

STEP = math.log(1.1)  # prepared sizes lie 10 % apart ...
SMALLEST = 0.01  # ... and none is smaller than this, of the exemplar's own

Prepared = tuple[Array, float]  # luma, and its scale against the exemplar's image


class Face(Protocol):
    """What references are cut for; an engine's FaceRequest is one.

    lr: RGB uint8 (L, L, 3); landmarks: float32 (5, 2) in its pixels; exemplars: best first.
    """

    @property
    def lr(self) -> U8: ...
    @property
    def landmarks(self) -> F32: ...
    @property
    def exemplars(self) -> Sequence[Exemplar]: ...


class ReferenceCutter:
    """Makes the reference stacks of requests; keeps exemplars prepared at the sizes in use. Thread-safe.

    threads: that references are cut in, for all callers together; 1: in the caller's own; capacity: sizes kept of an
    exemplar, the least recently used dropped first; limit: bytes kept of all exemplars, by about; beyond it the least
    recently used exemplar is dropped. What is prepared lives no longer than its exemplar.
    """

    def __init__(self, scale: int, threads: int = 1, capacity: int = 4, limit: int = 128 << 20) -> None:
        self.scale = scale
        self._pool = ThreadPoolExecutor(threads, "hime-cutter") if threads > 1 else None
        self.capacity, self.limit = capacity, limit
        self._local = threading.local()  # a Registration serves one thread
        self._lock = threading.Lock()
        self._prepared: WeakKeyDictionary[Exemplar, OrderedDict[int, Prepared]] = WeakKeyDictionary()

    def references(self, request: Face) -> U8:
        """Luma uint8 (R, scale*L, scale*L), R at least 1: black where there is no exemplar."""
        stack: U8 = self.stacks([request])[0]
        return stack

    def stacks(self, requests: Sequence[Face]) -> U8:
        """Those of requests that are alike in LR size and number of references, (N, R, scale*L, scale*L)."""
        side = requests[0].lr.shape[0] * self.scale
        lumas = [luma(request.lr) for request in requests]
        which = [(n, exemplar) for n, request in enumerate(requests) for exemplar in request.exemplars or (None,)]

        def cut(one: tuple[int, Exemplar | None]) -> Array:
            n, exemplar = one
            if exemplar is None:
                return np.zeros((side, side), np.uint8)
            return self._reference(exemplar, requests[n].landmarks, side, lumas[n])

        found = self._pool.map(cut, which) if self._pool else map(cut, which)
        return np.stack(list(found)).reshape(len(requests), -1, side, side)

    def close(self) -> None:
        """Ends the threads."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        """Drops what is prepared of them, though they may still be held elsewhere."""
        gone = set(exemplar_ids)
        with self._lock:
            for exemplar in [exemplar for exemplar in self._prepared if exemplar.id in gone]:
                del self._prepared[exemplar]

    def _reference(self, exemplar: Exemplar, landmarks: Array, side: int, lr_luma: Array) -> Array:
        target = (landmarks.astype(np.float64) + 0.5) * self.scale - 0.5
        to_canvas = similarity(exemplar.landmarks.astype(np.float64), target)
        rescale = math.hypot(to_canvas[0, 0], to_canvas[1, 0])
        image, prepared_scale = self._prepare(exemplar, step_of(rescale))
        # The prepared picture is smaller by prepared_scale: x = (x' + 0.5) / prepared_scale - 0.5.
        shrink = 1.0 / prepared_scale
        offset = 0.5 * shrink - 0.5
        matrix = to_canvas.copy()
        matrix[:, :2] *= shrink
        matrix[:, 2] += to_canvas[:, :2] @ (offset, offset)
        cut = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return self._register(cut, lr_luma)

    def _register(self, cut: Array, lr_luma: Array) -> Array:
        if not hasattr(self._local, "registration"):
            self._local.registration = Registration()
        registration: Registration = self._local.registration
        return registration.register(cut, lr_luma)

    def _prepare(self, exemplar: Exemplar, step: int) -> Prepared:
        with self._lock:
            # The last used is the last in order, of exemplars and of sizes.
            sizes = self._prepared[exemplar] = self._prepared.pop(exemplar, OrderedDict())
            found = sizes.get(step)
            if found is not None:
                sizes.move_to_end(step)
                return found
        prepared = reduced(exemplar, step)
        with self._lock:
            sizes[step] = prepared
            if len(sizes) > self.capacity:
                sizes.popitem(last=False)
            self._shrink(exemplar)
        return prepared

    def _shrink(self, kept: Exemplar) -> None:
        size = {e: sum(image.nbytes for image, _ in sizes.values()) for e, sizes in self._prepared.items()}
        total = sum(size.values())
        for exemplar, bytes_ in size.items():
            if total <= self.limit:
                return
            if exemplar is not kept:
                del self._prepared[exemplar]
                total -= bytes_


def step_of(rescale: float) -> int:
    """The size at which an exemplar is prepared for a canvas whose pixels are 1 / rescale of its own."""
    return min(0, round(math.log(max(rescale, SMALLEST)) / STEP))


def reduced(exemplar: Exemplar, step: int) -> Prepared:
    """The exemplar's luma, reduced by area where the canvas is coarser than it is, as warping would alias."""
    image = luma(exemplar.image)
    width = max(1, round(image.shape[1] * math.exp(step * STEP)))
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    if not step:
        return image, 1.0
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), width / image.shape[1]
