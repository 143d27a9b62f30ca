import cv2
import numpy as np
import pytest

from hime_core.faces.geometry import LR_SIDES, MARGIN, Box, Headshot, crop, face_square, headshot_of, iou, resized


def test_headshot_is_the_training_geometry():
    headshot = headshot_of(Box(100, 50, 80, 100))
    assert headshot.side == pytest.approx(169)
    assert headshot.cx == pytest.approx(140)
    assert headshot.cy == pytest.approx(100 - 3)


@pytest.mark.parametrize("side,expected", [(10, 16), (16, 16), (16.1, 32), (33, 48), (96, 96)])
def test_a_square_grows_to_the_next_lr_side(side, expected):
    square = face_square(Headshot(60.0, 40.0, side))
    assert square.side == expected and square.side in LR_SIDES
    assert square.x + square.side / 2 == pytest.approx(60, abs=0.5)
    assert square.y + square.side / 2 == pytest.approx(40, abs=0.5)


@pytest.mark.parametrize("side", [96.5, 130.0, 301.3])
def test_a_larger_one_has_a_margin(side):
    square = face_square(Headshot(200.0, 150.0, side))
    assert square.side % 2 == 0
    assert MARGIN * side <= square.side < MARGIN * side + 2
    assert square.x + square.side / 2 == pytest.approx(200, abs=0.5)


def test_resized_takes_the_mean_downwards_and_leaves_what_fits():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert resized(image, 8) is image
    assert resized(image, 4).tolist() == cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA).tolist()
    assert resized(image, 16).shape == (16, 16)


def test_crop_replicates_edges_and_copies():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    square = crop(image, -1, -2, 4)
    assert square.tolist() == [[0, 0, 1, 2], [0, 0, 1, 2], [0, 0, 1, 2], [4, 4, 5, 6]]
    inner = crop(image, 1, 1, 2)
    inner[:] = 0
    assert image[1, 1] == 5


def test_crop_of_colour_past_the_far_border():
    image = np.random.default_rng(0).integers(0, 255, (10, 12, 3), np.uint8)
    square = crop(image, 8, 6, 8)
    assert square.shape == (8, 8, 3)
    assert np.array_equal(square[-1, -1], image[-1, -1])
    assert np.array_equal(square[:4, :4], image[6:, 8:])


def test_crop_wholly_outside_repeats_the_border():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert crop(image, 10, 1, 2).tolist() == [[7, 7], [11, 11]]
    assert crop(image, -9, -9, 2).tolist() == [[0, 0], [0, 0]]


def test_iou():
    box = Box(0, 0, 10, 10)
    assert iou(box, box) == pytest.approx(1)
    assert iou(box, Box(5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert iou(box, Box(10, 10, 5, 5)) == 0
