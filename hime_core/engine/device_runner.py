"""Everything per face on the device: exemplars lie there, and are cut, registered and seen by the network in one go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hime_core.arrays import U8, Array
from hime_core.engine.protocol import FaceRequest
from hime_core.engine.recording import Recorded
from hime_core.engine.torch_backend import Network
from hime_core.exemplars.exemplar import Exemplar
from hime_core.exemplars.references import step_of
from hime_core.exemplars.shelf import BLACK, Shelf
from hime_core.faces.dense import luma, register
from hime_core.faces.geometry import LR_SIDES
from hime_core.faces.registration import similarities
from hime_core.model.hime import Hime

BATCH = 32  # faces at most: registration is many small kernels, which take hardly longer for more of them
LANES = 2  # one batch is prepared while one computes
REFERENCES = (3, 1, 2)  # of a face, in the order in which their shapes are recorded
LIMIT = 512 << 20  # bytes of exemplars on the device, an equal share for each of LR_SIDES


class DeviceRunner:
    """A FaceRunner that gives the device a batch's LR faces and, for each reference, its slot and a matrix.

    Results differ from those of references cut on the host by what two searches for the same flow differ
    (tests/unit/test_device_runner.py). On CUDA a shape is recorded, with cutting and registration, when first met.
    """

    def __init__(self, model: Hime, device: str, limit: int = LIMIT, max_batch: int = BATCH) -> None:
        """limit: bytes of exemplars kept on the device, for all LR sizes together. Raises ValueError where it is too
        small for a batch of faces."""
        self.scale, self.max_batch, self.lanes = model.config.scale, max_batch, LANES
        self.device, self._share = torch.device(device), limit // len(LR_SIDES)
        self._network = Network(model, self.device)
        self.recorded = Recorded(self._enhanced, self.device)
        self._shelves: dict[int, Shelf] = {}  # by LR size
        self._lock = threading.Lock()  # what is placed for a batch stays until the batch is launched

    def enhance(self, requests: Sequence[FaceRequest]) -> Sequence[U8]:
        lr = np.stack([request.lr for request in requests])
        laid = _laid(requests, self.scale)
        with self._lock:
            with self.recorded.computing():
                slots, matrices = self._placed(requests, laid)
            wait = self.recorded.launch(lr, slots, matrices)
        return list(wait())

    @torch.inference_mode()
    def references(self, requests: Sequence[FaceRequest]) -> U8:
        """What `enhance` shows the network, for tests and measurements: luma uint8 (N, R, scale*L, scale*L)."""
        lr, laid = np.stack([request.lr for request in requests]), _laid(requests, self.scale)
        with self._lock, self.recorded.computing():
            there = [torch.from_numpy(a).to(self.device) for a in (lr, *self._placed(requests, laid))]
            found: U8 = self._references(*there).to(torch.uint8).cpu().numpy()
        return found

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        gone = set(exemplar_ids)
        with self._lock, self.recorded.computing():
            for shelf in self._shelves.values():
                shelf.forget(gone)

    def close(self) -> None: ...

    def warm_up(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> int:
        """Has the shapes run that may come, the likeliest first, until so many seconds are over; how many were."""
        end, count = clock() + seconds, 0
        for faces in (1 << n for n in range(self.max_batch.bit_length())):
            for references in REFERENCES:
                for side in LR_SIDES:
                    if count and clock() >= end:
                        return count
                    self._run_blank(side, references, faces)
                    count += 1
        return count

    def _run_blank(self, side: int, references: int, faces: int) -> None:
        lr = np.zeros((faces, side, side, 3), np.uint8)
        matrices = np.zeros((faces, references, 2, 3), np.float32)
        with self._lock:
            with self.recorded.computing():
                self._shelf(side)
            wait = self.recorded.launch(lr, np.full((faces, references), BLACK, np.int64), matrices)
        wait()

    def _placed(self, requests: Sequence[FaceRequest], laid: Array) -> tuple[Array, Array]:
        """Each reference's slot, int64 (N, R), and its matrix from the canvas to the slot as `affine_grid` takes it,
        float32 (N, R, 2, 3)."""
        side = requests[0].lr.shape[0]
        shelf, canvas, exemplars = self._shelf(side), side * self.scale, _exemplars(requests)
        slots, scales, origins = np.full(len(exemplars), BLACK), np.ones(len(exemplars)), np.zeros((len(exemplars), 2))
        rescales = np.hypot(laid[:, 0, 0], laid[:, 1, 0])
        for n, exemplar in enumerate(exemplars):
            if exemplar is not None:
                place = shelf.place(exemplar, step_of(float(rescales[n])))
                slots[n], scales[n], origins[n] = place.slot, place.scale, place.origin
        # Back from the canvas to the exemplar: x = A⁻¹ (c - t); from there to the slot: (x + 0.5) scale - 0.5 - origin.
        a, b = laid[:, 0, 0], laid[:, 1, 0]
        back = np.stack((np.stack((a, b), -1), np.stack((-b, a), -1)), 1)
        back *= (scales / np.maximum(rescales, 1e-9) ** 2)[:, None, None]
        shift = (scales[:, None] - 1) / 2 - origins - np.einsum("bij,bj->bi", back, laid[:, :, 2])
        # Both sides from -1 to 1 between their outer edges.
        shift = (2 * (shift + back.sum(-1) * (canvas - 1) / 2) + 1) / shelf.side - 1
        matrices = np.concatenate((back * (canvas / shelf.side), shift[..., None]), -1, dtype=np.float32)
        return slots.reshape(len(requests), -1), matrices.reshape(len(requests), -1, 2, 3)

    def _shelf(self, side: int) -> Shelf:
        if side not in self._shelves:
            shelf = Shelf(side * self.scale, self._share, self.device)
            if shelf.capacity < self.max_batch * max(REFERENCES):
                raise ValueError(f"{self._share} bytes hold {shelf.capacity} exemplars, a batch may have more")
            self._shelves[side] = shelf
        return self._shelves[side]

    def _enhanced(self, lr: Tensor, slots: Tensor, matrices: Tensor) -> Tensor:
        """On the device, and recorded: uint8 (N, L, L, 3), int64 (N, R) and float32 (N, R, 2, 3) to the network's."""
        return self._network(lr, self._references(lr, slots, matrices))

    def _references(self, lr: Tensor, slots: Tensor, matrices: Tensor) -> Tensor:
        """Luma, float32 (N, R, scale*L, scale*L), whole grey levels."""
        canvas = lr.shape[1] * self.scale
        pictures = self._shelves[lr.shape[1]].pictures.index_select(0, slots.flatten())[:, None].float()
        grid = F.affine_grid(matrices.flatten(0, 1), [len(pictures), 1, canvas, canvas], align_corners=False)
        cut = F.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)
        return register(cut.round().clamp(0, 255).view(*slots.shape, canvas, canvas), luma(lr))


def _exemplars(requests: Sequence[FaceRequest]) -> list[Exemplar | None]:
    return [exemplar for request in requests for exemplar in request.exemplars or (None,)]


def _laid(requests: Sequence[FaceRequest], scale: int) -> Array:
    """What lays each exemplar over its face's canvas, (B, 2, 3); the identity where there is none."""
    exemplars = _exemplars(requests)
    targets = (np.stack([request.landmarks for request in requests]).astype(np.float64) + 0.5) * scale - 0.5
    targets = np.repeat(targets, len(exemplars) // len(requests), axis=0)
    sources = np.stack([t if e is None else e.landmarks for e, t in zip(exemplars, targets, strict=True)])
    return similarities(sources, targets)
