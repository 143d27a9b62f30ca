import cv2
import numpy as np
import pytest
from skimage import data

from hime_core.exemplars.exemplar import LONGEST_SIDE
from hime_core.exemplars.photos import UnusablePhoto, exemplar_from_photo
from hime_core.faces.detector import Detection, MtcnnDetector
from hime_core.faces.geometry import Box, headshot_of

BOX = Box(177.0, 61.0, 87.0, 112.0)


@pytest.fixture(scope="module")
def mtcnn():
    return MtcnnDetector()


@pytest.fixture(scope="module")
def portrait():
    return data.astronaut()


class Fixed:
    def __init__(self, *faces):
        self.faces = list(faces)

    def detect(self, rgb):
        return self.faces


def test_a_portrait_becomes_an_exemplar(mtcnn, portrait):
    exemplar = exemplar_from_photo(portrait, mtcnn, "p1", 12.5)
    assert (exemplar.id, exemplar.source, exemplar.frame, exemplar.time) == ("p1", "photo", 0, 12.5)
    assert exemplar.native_px == pytest.approx(headshot_of(BOX).side, rel=0.06)
    assert abs(exemplar.yaw) < 15 and 0.3 < exemplar.light < 0.8
    assert exemplar.image.dtype == np.uint8


def test_a_large_photo_is_searched_on_a_copy_and_cut_from_the_original(mtcnn, portrait):
    large = cv2.resize(portrait, (3000, 3000), interpolation=cv2.INTER_CUBIC)
    exemplar = exemplar_from_photo(cv2.GaussianBlur(large, (0, 0), 0.5), mtcnn, "p", 0.0)
    assert max(exemplar.image.shape) == LONGEST_SIDE
    assert exemplar.native_px == pytest.approx(LONGEST_SIDE / 2, rel=0.2)


@pytest.mark.parametrize(
    "change,reason,kinds",
    [
        (lambda rgb: np.full((300, 400, 3), 128, np.uint8), "no face", ["no_face"]),
        (lambda rgb: rgb[:10, :10], "no face", ["no_face"]),
        (lambda rgb: cv2.resize(rgb, (250, 250), interpolation=cv2.INTER_AREA), "too small.*at least 128", ["small"]),
        (lambda rgb: cv2.GaussianBlur(rgb, (0, 0), 3), "too blurred", ["blurred"]),
        (lambda rgb: np.concatenate([rgb, rgb[:, ::-1]], 1), "more than one", ["several_faces"]),
        (lambda rgb: (rgb * 0.08).astype(np.uint8), "too dark|no face", ["light", "no_face"]),
    ],
)
def test_unusable_photos_say_why(mtcnn, portrait, change, reason, kinds):
    with pytest.raises(UnusablePhoto, match=reason) as refused:
        exemplar_from_photo(np.ascontiguousarray(change(portrait)), mtcnn, "p", 0.0)
    assert refused.value.kind in kinds


def test_a_small_second_face_in_the_background_is_no_obstacle(mtcnn, portrait):
    small = cv2.resize(portrait, (180, 180), interpolation=cv2.INTER_AREA)
    both = np.concatenate([portrait, np.full((512, 180, 3), 90, np.uint8)], 1)
    both[:180, 512:] = small
    exemplar = exemplar_from_photo(both, mtcnn, "p", 0.0)
    assert exemplar.native_px > 170


def test_faces_cut_off_covered_or_turned_are_refused(portrait):
    landmarks = np.array([[203, 100], [245, 103], [223, 128], [200, 139], [243, 142]], np.float32)
    cases = {
        "cut off": Detection(Box(-30, 61, 87, 112), landmarks - (207, 0), 1.0),
        "cannot be made out": Detection(BOX, landmarks[::-1], 1.0),
        "turned away": Detection(BOX, landmarks + np.array([[0, 0], [0, 0], [40, 0], [0, 0], [0, 0]]), 1.0),
    }
    for reason, face in cases.items():
        with pytest.raises(UnusablePhoto, match=reason):
            exemplar_from_photo(portrait, Fixed(face), "p", 0.0)


def test_anything_but_an_rgb_picture_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="uint8"):
        exemplar_from_photo(np.zeros((100, 100), np.uint8), Fixed(), "p", 0.0)
