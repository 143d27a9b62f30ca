import numpy as np
import pytest

from hime_core.faces.geometry import LR_SIDES, Box, Headshot, crop, headshot_of, iou, lr_square


def test_headshot_is_the_training_geometry():
    headshot = headshot_of(Box(100, 50, 80, 100))
    assert headshot.side == pytest.approx(169)
    assert headshot.cx == pytest.approx(140)
    assert headshot.cy == pytest.approx(100 - 3)


@pytest.mark.parametrize("side,expected", [(10, 16), (16, 16), (16.1, 32), (33, 48), (96, 96)])
def test_lr_square_grows_to_the_next_side(side, expected):
    square = lr_square(Headshot(60.0, 40.0, side))
    assert square is not None
    assert square.side == expected and square.side in LR_SIDES
    assert square.growth == pytest.approx(expected / side)
    assert square.x + square.side / 2 == pytest.approx(60, abs=0.5)
    assert square.y + square.side / 2 == pytest.approx(40, abs=0.5)


def test_a_close_face_has_no_lr_square():
    assert lr_square(Headshot(100, 100, 96.5)) is None


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
