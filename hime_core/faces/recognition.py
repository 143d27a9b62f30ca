"""Whose face it is: embeddings that are alike for one person's faces, and how alike two must be.

`hime_core.faces.recognisers` says which network makes them. Embeddings are biometric data: they are kept in memory
alone, and those of different networks do not compare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hime_core.arrays import Array
from hime_core.faces.geometry import resized

SIDES = (16, 24, 32, 48, 64, 96)  # pixels of headshots that limits are measured at


@dataclass(frozen=True, eq=False)
class FacePicture:
    """rgb: uint8 (n, n, 3), the headshot's square as it is in its frame; landmarks: (5, 2) in its pixels."""

    rgb: Array
    landmarks: Array


@dataclass(frozen=True)
class Limits:
    """Cosines. same: at or above it, two faces are one person (at most 1 in 1,000 of others' faces reach it); over 1
    where faces of that size never tell. other: below it they are two people (at most 1 in 100 of a person's own faces).
    """

    same: float
    other: float


NEVER = Limits(2.0, -2.0)


class Recogniser(Protocol):
    name: str

    def embed(self, faces: Sequence[FacePicture]) -> Array:
        """(N, D) float32 of unit length. Called from any thread, several at once."""
        ...

    def limits(self, side: int) -> Limits:
        """Of comparisons of faces of `side` px headshots with exemplars made equally coarse (`coarsened`)."""
        ...


def coarsened(face: FacePicture, side: int) -> FacePicture:
    """The face reduced by area to `side` pixels; one that has no more is as it was."""
    own = face.rgb.shape[0]
    if side >= own:
        return face
    landmarks = (np.asarray(face.landmarks, np.float32) + 0.5) * (side / own) - 0.5
    return FacePicture(resized(face.rgb, side), landmarks.astype(np.float32))


def likeness(embedding: Array, gallery: Array) -> float:
    """The cosine, -1..1, of an embedding (D,) with the mean of a gallery (K, D) of one person, K at least 1."""
    mean = np.asarray(gallery, np.float32).mean(0)
    return float(embedding @ mean / max(float(np.linalg.norm(mean)), 1e-6))


def limits_between(measured: dict[int, Limits], side: int) -> Limits:
    """The limits at `side` from those measured at some sides: the nearest ones' by the logarithm of the side, the
    largest's for larger faces, NEVER for smaller ones than the smallest."""
    sides = sorted(measured)
    if side < sides[0]:
        return NEVER
    at = [math.log2(known) for known in sides]
    same, other = (
        float(np.interp(math.log2(side), at, [getattr(measured[known], kind) for known in sides]))
        for kind in ("same", "other")
    )
    return Limits(same, other)
