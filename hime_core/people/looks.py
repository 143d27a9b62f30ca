"""Compares faces with the exemplars of people, at equal resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from hime_core.arrays import Array
from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import Headshot, crop, face_square
from hime_core.faces.recognition import SIDES, FacePicture, Recogniser, coarsened, likeness

COMPARED = 4  # exemplars of a person at most: those that are turned least


@dataclass(frozen=True, eq=False)
class Candidate:
    """Somebody who the face may be; exemplars: one at least."""

    person: int
    exemplars: tuple[Exemplar, ...]


@dataclass(frozen=True, eq=False)
class Asked:
    """A face to be compared. side: of its headshot, pixels; total: of its embeddings so far."""

    sighting: int
    picture: FacePicture
    side: float
    candidates: tuple[Candidate, ...]
    total: Array | None


@dataclass(frozen=True, eq=False)
class Look:
    """What came of it. total: of all its embeddings; scores: its likeness to each candidate, by person."""

    sighting: int
    side: float
    total: Array
    scores: dict[int, float]


class Comparison:
    """For one thread. Exemplars are embedded once for each size; the embeddings go with them."""

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self._known: WeakKeyDictionary[Exemplar, dict[int, Array]] = WeakKeyDictionary()

    def look_at(self, asked: Sequence[Asked]) -> list[Look]:
        embeddings = self._recogniser.embed([one.picture for one in asked])
        looks = []
        for one, embedding in zip(asked, embeddings, strict=True):
            total = embedding if one.total is None else one.total + embedding
            mean = total / max(float(np.linalg.norm(total)), 1e-6)
            scores = {
                candidate.person: likeness(mean, self._gallery(candidate.exemplars, one.side))
                for candidate in one.candidates
            }
            looks.append(Look(one.sighting, one.side, total, scores))
        return looks

    def _gallery(self, exemplars: Sequence[Exemplar], side: float) -> Array:
        """(K, D) of a person's exemplars, made as coarse as a headshot of that side."""
        size = min(SIDES, key=lambda size: abs(np.log(size / side)))
        compared = sorted(exemplars, key=lambda exemplar: abs(exemplar.yaw))[:COMPARED]
        missing = [exemplar for exemplar in compared if size not in self._known.setdefault(exemplar, {})]
        if missing:
            embeddings = self._recogniser.embed([coarse(exemplar, size) for exemplar in missing])
            for exemplar, embedding in zip(missing, embeddings, strict=True):
                self._known[exemplar][size] = embedding
        return np.stack([self._known[exemplar][size] for exemplar in compared])


def picture_of(rgb: Array, headshot: Headshot, landmarks: Array) -> FacePicture:
    """A face of a picture, uint8 (height, width, 3), as the recogniser takes it."""
    square = face_square(headshot)
    points = landmarks - (square.x, square.y)
    return FacePicture(crop(rgb, square.x, square.y, square.side), points.astype(np.float32))


def coarse(exemplar: Exemplar, side: int) -> FacePicture:
    """An exemplar's face, its headshot made as coarse as `side` pixels."""
    picture = picture_of(exemplar.image, exemplar.headshot, exemplar.landmarks)
    return coarsened(picture, round(picture.rgb.shape[0] * min(1.0, side / exemplar.headshot.side)))
