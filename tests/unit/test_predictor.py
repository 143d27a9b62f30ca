"""The library's face: ten lines suffice to use it."""

import cv2
import numpy as np
import pytest
from skimage import data

from hime_core import Hime, HimePredictor
from hime_core.exemplars.photos import UnusablePhoto

SIDE = 200  # of the part of the astronaut that is shown, in its picture of 512 px; 50 px far


@pytest.fixture(scope="module")
def predictor():
    return HimePredictor(Hime.from_pretrained("tiny-x4-call"), device="cpu")


@pytest.fixture(scope="module")
def photo():
    return data.astronaut()


def error(picture: np.ndarray, truth: np.ndarray) -> float:
    face = np.s_[60:190, 60:160]
    return float(np.square(picture[face].astype(float) - truth[face]).mean())


def test_a_far_face_gets_nearer_to_the_truth_and_nearer_still_with_an_exemplar(predictor, photo):
    truth = np.ascontiguousarray(photo[20:220, 112:332])
    far = cv2.resize(truth, (56, 50), interpolation=cv2.INTER_AREA)
    far = cv2.copyMakeBorder(far, 40, 40, 40, 40, cv2.BORDER_REPLICATE)
    plain = cv2.resize(far, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    predictor._bank = None
    blank = predictor.predict(far)
    assert blank.shape == plain.shape and blank.dtype == np.uint8
    # The person's own picture, in other light and a little turned.
    turn = cv2.getRotationMatrix2D((220, 120), 6, 1.05)
    other = cv2.warpAffine(photo, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    predictor.set_exemplars([cv2.convertScaleAbs(other, alpha=0.9, beta=6)])
    sharp = predictor.predict(far)
    truth = cv2.resize(truth, (224, 200), interpolation=cv2.INTER_CUBIC)
    inner = np.s_[160:360, 160:384]
    errors = [error(picture[inner], truth) for picture in (plain, blank, sharp)]
    assert errors[2] < errors[1] < errors[0], errors
    assert np.array_equal(sharp[:100], predictor.predict(far, [])[:100])  # beside the face nothing changes


def test_photos_that_cannot_be_used_change_nothing(predictor, photo):
    predictor.set_exemplars([photo])
    before = predictor._bank
    with pytest.raises(UnusablePhoto, match="photo 2: no face"):
        predictor.set_exemplars([photo, np.zeros((200, 200, 3), np.uint8)])
    assert predictor._bank is before


def test_a_picture_of_another_kind_is_refused(predictor):
    with pytest.raises(ValueError, match="uint8"):
        predictor.predict(np.zeros((100, 100, 3), np.float32))
