"""Exemplars kept on a device, ready to be cut from there: each at the sizes in use, in slots of one size."""

from __future__ import annotations

import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import cv2
import torch

from hime_core.arrays import U8
from hime_core.exemplars.exemplar import Exemplar
from hime_core.exemplars.references import reduced

BLACK = 0  # the slot of faces without an exemplar
ROOM = 2.25  # of the canvas: an exemplar's picture is twice its headshot, give or take what landmarks err
Key = tuple[int, int]  # an exemplar's id() and the step of its size


@dataclass(frozen=True, eq=False)
class Place:
    """Where a reduced exemplar lies: its slot, its scale against its image, and the pixel (x, y) at the slot's
    corner."""

    slot: int
    scale: float
    origin: tuple[int, int]


class Shelf:
    """Luma of exemplars on a device, reduced for canvases of one side. One thread at a time.

    canvas: side of what is cut from them, pixels; limit: bytes at most, which must hold a batch's exemplars; beyond it
    the least recently used goes. `pictures`: uint8 (slots, side, side), its memory stays where it is. Edges are
    repeated up to the slot's, so that sampling needs not know how large a picture is. What is kept lives no longer than
    its exemplar: it is written over at the next use.
    """

    def __init__(self, canvas: int, limit: int, device: torch.device) -> None:
        self.side = 8 * round(ROOM * canvas / 8)
        count = max(2, limit // self.side**2)
        with torch.inference_mode(False):  # it is written to in either mode
            self.pictures = torch.zeros(count, self.side, self.side, dtype=torch.uint8, device=device)
        self._free = list(range(count - 1, BLACK, -1))
        self._places: OrderedDict[Key, Place] = OrderedDict()  # the last used is the last
        self._known: dict[int, weakref.ref[Exemplar]] = {}  # by id()
        self._gone: deque[int] = deque()  # ids of exemplars that are no more; filled by whoever let go of them

    @property
    def capacity(self) -> int:
        """How many it holds."""
        return len(self.pictures) - 1

    def __len__(self) -> int:
        return len(self._places)

    def place(self, exemplar: Exemplar, step: int) -> Place:
        """Of an exemplar at a size, brought here if it is not."""
        self._drop_gone()
        key = id(exemplar), step
        found = self._places.get(key)
        if found is not None:
            self._places.move_to_end(key)
            return found
        if not self._free:
            self._drop(next(iter(self._places)))
        slot = self._free.pop()
        picture, scale = reduced(exemplar, step)
        x, y = (
            min(max(0, round(centre * scale - self.side / 2)), max(0, size - self.side))
            for centre, size in zip((exemplar.headshot.cx, exemplar.headshot.cy), picture.shape[::-1], strict=True)
        )
        self._fill(slot, picture[y : y + self.side, x : x + self.side])
        if id(exemplar) not in self._known:
            gone = partial(self._let_go, id(exemplar))
            self._known[id(exemplar)] = weakref.ref(exemplar, gone)
        self._places[key] = Place(slot, scale, (x, y))
        return self._places[key]

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        """Drops what is kept of them, though they may still be held elsewhere."""
        self._drop_gone()
        gone = set(exemplar_ids)
        for key, known in list(self._known.items()):
            exemplar = known()
            if exemplar is not None and exemplar.id in gone:
                self._drop_exemplar(key)

    def _fill(self, slot: int, picture: U8) -> None:
        height, width = picture.shape
        tensor = torch.from_numpy(
            cv2.copyMakeBorder(picture, 0, self.side - height, 0, self.side - width, cv2.BORDER_REPLICATE)
        )
        if self.pictures.is_cuda:
            tensor = tensor.pin_memory()
        self.pictures[slot].copy_(tensor, non_blocking=True)

    def _let_go(self, identity: int, _: weakref.ref[Exemplar]) -> None:
        self._gone.append(identity)

    def _drop_gone(self) -> None:
        while self._gone:
            self._drop_exemplar(self._gone.popleft())

    def _drop_exemplar(self, identity: int) -> None:
        for key in [key for key in self._places if key[0] == identity]:
            self._drop(key)
        self._known.pop(identity, None)

    def _drop(self, key: Key) -> None:
        slot = self._places.pop(key).slot
        self.pictures[slot].zero_()
        self._free.append(slot)
