"""Which parts of a large frame are searched for far faces, and when: a few tiles at each call, each in its turn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from hime_core.arrays import Array
from hime_core.faces.geometry import Box

SIDE = 520  # of a tile at most, in pixels of its octave: fewer cuts, so less is searched twice
OVERLAP = 48  # the largest face that an octave answers for lies whole in one of its tiles
COARSEST = 320  # an octave of this side is the whole frame's copy, which is searched by itself
LARGEST = 1920 * 1080  # larger frames are reduced to so many pixels
SWEEP = 6  # calls in which every tile gets its turn
HEAD_START = 3  # calls that a tile whose picture has changed goes before the others
CELL = 8  # pixels: changes are looked for in the means of such squares
CHANGE = 8  # of a mean, of 255: noise and the codec stay under it
CHANGED_CELLS = 4  # a face of 20 pixels covers six


@dataclass(frozen=True)
class Tile:
    """A rectangle of the frame in its pixels, and the size (width, height) at which it is searched."""

    x: int
    y: int
    width: int
    height: int
    size: tuple[int, int]

    @property
    def pixels(self) -> int:
        """How many are searched."""
        return self.size[0] * self.size[1]

    @property
    def scale(self) -> float:
        """Frame pixels per searched pixel."""
        return self.width / self.size[0]

    def cut(self, rgb: Array, known: Sequence[Box] = ()) -> Array:
        """Its part of a (height, width, 3) uint8 frame at `size`, with gray where faces are known already."""
        part = rgb[self.y : self.y + self.height, self.x : self.x + self.width]
        if (self.width, self.height) != self.size:
            part = cv2.resize(part, self.size, interpolation=cv2.INTER_AREA)
        for box in known:
            left, right = ((edge - self.x) / self.scale for edge in (box.x, box.x + box.width))
            top, bottom = ((edge - self.y) / self.scale for edge in (box.y, box.y + box.height))
            if left < self.size[0] and top < self.size[1] and right > 0 and bottom > 0:
                part = part.copy()
                part[max(0, int(top)) : math.ceil(bottom), max(0, int(left)) : math.ceil(right)] = 127
        return part

    def cells(self) -> tuple[slice, slice]:
        """Its place in a picture of the frame's cells."""
        right, bottom = -(-(self.x + self.width) // CELL), -(-(self.y + self.height) // CELL)
        return np.s_[self.y // CELL : bottom, self.x // CELL : right]


def tiles_of(width: int, height: int) -> tuple[Tile, ...]:
    """The tiles of a frame, coarse ones first: at its own scale, at half of it and so on down to the 320 pixel copy.

    An octave answers for faces whose boxes are 20 to 48 of its pixels high; larger ones are the next octave's.
    """
    tiles: list[Tile] = []
    scale = min(1.0, math.sqrt(LARGEST / (width * height)))
    while round(max(width, height) * scale) > COARSEST:
        columns, rows = (list(_cuts(side, scale)) for side in (width, height))
        tiles[:0] = [
            Tile(x, y, w, h, (max(1, round(w * scale)), max(1, round(h * scale)))) for y, h in rows for x, w in columns
        ]
        scale /= 2
    return tuple(tiles)


def _cuts(side: int, scale: float) -> Iterator[tuple[int, int]]:
    """Start and length of equal parts that overlap."""
    overlap = math.ceil(OVERLAP / scale)
    count = max(1, math.ceil((side - overlap) / (SIDE / scale - overlap)))
    length = math.ceil((side + (count - 1) * overlap) / count)
    for index in range(count):
        yield round(index * (side - length) / max(1, count - 1)), min(side, length)


class Turns:
    """Deals out the tiles of one stream's frames. One thread at a time.

    The tile that has waited longest is next; one whose picture has changed since it was last searched counts as
    waiting HEAD_START calls longer. So no tile waits more than SWEEP + HEAD_START + 1 calls, whatever moves.
    """

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._tiles: tuple[Tile, ...] = ()
        self._seen: list[Array] = []  # each tile's cells when it was last searched
        self._waited: list[int] = []  # calls
        self._share = self._credit = 0.0  # pixels: of every call, and not used up yet

    def next(self, rgb: Array, known: Sequence[Box] = ()) -> list[Tile]:
        """The tiles to search in a (height, width, 3) uint8 frame; none that faces in `known` fill.

        A call's share of pixels is a SWEEP-th of all tiles', or the largest tile's; what is left over is carried to
        the next call.
        """
        cells = _cells(rgb)
        if rgb.shape != self._shape:
            self._start(rgb.shape, cells)
        self._waited = [waited + 1 for waited in self._waited]
        self._credit += self._share
        chosen = []
        for index in sorted(range(len(self._tiles)), key=lambda i: -self._claim(i, cells)):
            tile = self._tiles[index]
            if not _filled(tile, known):
                if tile.pixels > self._credit:
                    break
                self._credit -= tile.pixels
                chosen.append(tile)
            self._waited[index], self._seen[index] = 0, cells[tile.cells()]
        self._credit = min(self._credit, self._share)
        return chosen

    def _start(self, shape: tuple[int, ...], cells: Array) -> None:
        self._shape, self._tiles = shape, tiles_of(shape[1], shape[0])
        self._seen = [cells[tile.cells()] for tile in self._tiles]
        self._waited = [0] * len(self._tiles)
        sizes = [tile.pixels for tile in self._tiles]
        self._share = max([sum(sizes) / SWEEP, *sizes])
        self._credit = 0.0

    def _claim(self, index: int, cells: Array) -> int:
        change = cells[self._tiles[index].cells()] - self._seen[index]
        change -= np.median(change)  # a camera that sets its exposure moves nothing
        changed = np.count_nonzero(np.abs(change) > CHANGE) >= CHANGED_CELLS
        return self._waited[index] + (HEAD_START if changed else 0)


def _cells(rgb: Array) -> Array:
    size = tuple(max(1, -(-side // CELL)) for side in rgb.shape[1::-1])
    return cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float32)


def _filled(tile: Tile, known: Sequence[Box]) -> bool:
    return any(
        box.x <= tile.x
        and box.y <= tile.y
        and box.x + box.width >= tile.x + tile.width
        and box.y + box.height >= tile.y + tile.height
        for box in known
    )
