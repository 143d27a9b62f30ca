import cv2
import numpy as np
import pytest
from skimage import data

from hime_core.faces.registration import Registration, luma, similarity


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """The astronaut's headshot, luma, 128 px."""
    return cv2.resize(luma(data.astronaut()[15:215, 120:320]), (128, 128), interpolation=cv2.INTER_AREA)


def detail(image: np.ndarray) -> np.ndarray:
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
    return image - cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of what a 32 px picture cannot show, away from the border."""
    x, y = (detail(i)[16:-16, 16:-16].ravel() for i in (a, b))
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def test_detail_lands_where_the_face_is(face):
    """Turned, scaled, shifted and relit: the detail agrees with the truth only after registration."""
    matrix = cv2.getRotationMatrix2D((64, 64), 4, 1.04)
    matrix[:, 2] += (3.3, -2.6)
    moved = cv2.warpAffine(face, matrix, (128, 128), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    moved = cv2.convertScaleAbs(moved, alpha=0.8, beta=20)
    lr = cv2.resize(face, (32, 32), interpolation=cv2.INTER_AREA)
    registered = Registration().register(moved, lr)
    assert agreement(face, moved) < 0.3
    assert agreement(face, registered) > 0.6


def test_a_registered_picture_stays(face):
    lr = cv2.resize(face, (32, 32), interpolation=cv2.INTER_AREA)
    assert agreement(face, Registration().register(face, lr)) > 0.95


def test_flat_pictures_do_no_harm():
    flat = np.full((128, 128), 90, np.uint8)
    assert np.array_equal(Registration().register(flat, np.full((32, 32), 20, np.uint8)), flat)


def test_similarity_recovers_a_turn():
    points = np.array([[30, 40], [60, 41], [45, 55], [34, 70], [57, 71]], float)
    angle, scale, shift = np.deg2rad(12), 1.7, (5, -9)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = similarity(points, points @ turn.T + shift)
    assert np.allclose(found, np.column_stack((turn, shift)), atol=1e-6)


def test_similarity_does_not_believe_a_head_upside_down():
    points = np.array([[30, 40], [60, 41], [45, 55], [34, 70], [57, 71]], float)
    found = similarity(points, -points)
    assert found[0, 0] > 0
    assert found[0, 1] == 0
