"""A face that is to be enhanced, as the gate lets it through."""

from __future__ import annotations

from dataclasses import dataclass

from hime_core.arrays import U8
from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import FaceSquare
from hime_core.faces.tracker import TrackedFace


@dataclass(frozen=True, eq=False)
class Eligible:
    """A face to enhance, in one frame."""

    face: TrackedFace
    square: FaceSquare
    image: U8  # RGB uint8 (n, n, 3): the square
    luma: U8  # uint8 (M, M): the square, for carrying (compositing.detail.luma_of)
    exemplars: tuple[Exemplar, ...]
    side: int  # the LR size that the engine is asked for, at most n
    strength: float  # how much of what the network adds is to be shown, 0..1
