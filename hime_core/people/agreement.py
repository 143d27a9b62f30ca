"""Whether photos show the same person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hime_core.exemplar import Exemplar
from hime_core.faces.recognition import SIDES, Limits, Recogniser, likeness
from hime_core.people.looks import coarse


def strangers(photos: Sequence[Exemplar], known: Sequence[Exemplar], recogniser: Recogniser) -> list[int]:
    """The places of the photos that show somebody else than those that are known, which are one at least."""
    limits, embeddings = _embedded([*known, *photos], recogniser)
    gallery = embeddings[: len(known)]
    scores = [likeness(embedding, gallery) for embedding in embeddings[len(known) :]]
    return [place for place, score in enumerate(scores) if score < limits.other]


def by_person(photos: Sequence[Exemplar], recogniser: Recogniser) -> list[list[int]]:
    """The places of the photos by the person whom they show, as far as they tell; the most shown first.

    Photos are put together, the most alike first, until what is left is less alike than a person's own photos are.
    """
    limits, embeddings = _embedded(photos, recogniser)
    groups = [[place] for place in range(len(photos))]
    while len(groups) > 1:
        means = np.stack([_unit(embeddings[group].mean(0)) for group in groups])
        alike = means @ means.T
        np.fill_diagonal(alike, -np.inf)
        one, other = divmod(int(alike.argmax()), len(groups))
        if alike[one, other] < limits.other:
            break
        groups[min(one, other)] += groups.pop(max(one, other))
    return sorted((sorted(group) for group in groups), key=lambda group: (-len(group), group))


def _embedded(photos: Sequence[Exemplar], recogniser: Recogniser) -> tuple[Limits, np.ndarray]:
    """All at the resolution of the coarsest."""
    smallest = min(photo.headshot.side for photo in photos)
    side = max((size for size in SIDES if size <= smallest), default=SIDES[0])
    return recogniser.limits(side), recogniser.embed([coarse(photo, side) for photo in photos])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)
