"""Whether photos show the same person.

They do not where they are less alike than all but 1 in 100 of a person's own photos (`Limits.other`). Of 23 people
about 2 % of requests with 2 to 4 photos of one person are refused so, and of those with somebody else's photo among
them a quarter by our own network, three quarters by InceptionResnetV1: refusing more would refuse too many who are
right (`python -m benchmarks.faces.registration HEADSHOTS`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hime_core.arrays import Array
from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.recognition import SIDES, Recogniser, likeness
from hime_core.people.looks import coarse


def strangers(photos: Sequence[Exemplar], known: Sequence[Exemplar], recogniser: Recogniser) -> list[int]:
    """The places of the photos that show somebody else than those that are known, which are one at least."""
    least, embeddings = _embedded([*known, *photos], recogniser)
    gallery = embeddings[: len(known)]
    scores = [likeness(embedding, gallery) for embedding in embeddings[len(known) :]]
    return [place for place, score in enumerate(scores) if score < least]


def by_person(photos: Sequence[Exemplar], recogniser: Recogniser) -> list[list[int]]:
    """The places of the photos by the person whom they show, as far as they tell; the most shown first.

    Photos are put together, the most alike first, until what is left is less alike than a person's own photos mostly
    are.
    """
    least, embeddings = _embedded(photos, recogniser)
    groups = [[place] for place in range(len(photos))]
    while len(groups) > 1:
        means = np.stack([_unit(embeddings[group].mean(0)) for group in groups])
        alike = means @ means.T
        np.fill_diagonal(alike, -np.inf)
        one, other = divmod(int(alike.argmax()), len(groups))
        if alike[one, other] < least:
            break
        groups[min(one, other)] += groups.pop(max(one, other))
    return sorted((sorted(group) for group in groups), key=lambda group: (-len(group), group))


def _embedded(photos: Sequence[Exemplar], recogniser: Recogniser) -> tuple[float, Array]:
    """How alike two must be, and the embeddings; all at the resolution of the coarsest."""
    smallest = min(photo.headshot.side for photo in photos)
    side = max((size for size in SIDES if size <= smallest), default=SIDES[0])
    return recogniser.limits(side).other, recogniser.embed([coarse(photo, side) for photo in photos])


def _unit(vector: Array) -> Array:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)
