"""Whether photos show the same person."""

import numpy as np
import pytest

from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import Headshot
from hime_core.faces.recognition import Limits
from hime_core.people.agreement import by_person, strangers


class ByAngle:
    """Reads an angle off the face's grey level; faces up to 60 degrees apart are one person's."""

    name = "by angle"

    def __init__(self):
        self.sides = []

    def embed(self, faces):
        angles = np.radians([face.rgb[..., 0].mean() for face in faces])
        self.sizes = [face.rgb.shape[0] for face in faces]
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)

    def limits(self, side):
        self.sides.append(side)
        return Limits(0.9, 0.5)


def photo(angle, side=128):
    image = np.full((2 * side, 2 * side, 3), angle, np.uint8)
    points = np.float32([[0.4, 0.45], [0.6, 0.45], [0.5, 0.58], [0.41, 0.67], [0.59, 0.67]]) * side + side / 2
    return Exemplar("", image, Headshot(side, side, side), points, 1.0, 0.0, 0.5, "photo", 0, 0.0, float(side))


@pytest.mark.parametrize(
    ("angles", "groups"),
    [
        ([10], [[0]]),
        ([10, 20, 30], [[0, 1, 2]]),
        ([0, 35, 60], [[0, 1, 2]]),  # the first and the last differ, yet not from what is between them
        ([100, 10, 20], [[1, 2], [0]]),
        ([0, 0, 100, 200, 210, 205], [[3, 4, 5], [0, 1], [2]]),
    ],
)
def test_photos_are_put_together_by_person(angles, groups):
    assert by_person([photo(angle) for angle in angles], ByAngle()) == groups


def test_strangers_are_told_by_all_that_is_known():
    known = [photo(0), photo(60)]
    assert strangers([photo(75), photo(30), photo(100), photo(200)], known, ByAngle()) == [2, 3]


def test_photos_are_compared_at_the_resolution_of_the_coarsest():
    recogniser = ByAngle()
    by_person([photo(10, 300), photo(10, 70)], recogniser)
    assert recogniser.sides == [64]
    assert all(64 <= size <= 80 for size in recogniser.sizes)  # with what the square shows around the headshot
