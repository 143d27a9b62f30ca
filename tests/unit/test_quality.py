import cv2
import numpy as np
import pytest
from skimage import data

from hime_core.data.codec import transmit
from hime_core.exemplars.exemplar import OF_CALL
from hime_core.faces.quality import brightness, resolved, sharpness, yaw_degrees


@pytest.fixture(scope="module")
def headshot():
    return np.ascontiguousarray(data.astronaut()[22:211, 126:315])


def far(image, side):
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[:2], interpolation=cv2.INTER_CUBIC)


def test_far_and_moving_faces_are_less_sharp(headshot):
    sharp = sharpness(headshot)
    assert sharp > OF_CALL.sharpness
    assert sharpness(far(headshot, 40)) < 0.65 * sharp
    assert sharpness(far(headshot, 40)) < OF_CALL.sharpness
    for kernel in (np.ones((1, 9)), np.ones((9, 1)), np.eye(9)):
        moved = cv2.filter2D(headshot, -1, kernel / kernel.sum())
        assert sharpness(moved) < OF_CALL.sharpness
    assert sharpness(cv2.GaussianBlur(headshot, (0, 0), 3)) < OF_CALL.sharpness


def test_sharpness_does_not_depend_on_size_light_or_contrast(headshot):
    sharp = sharpness(headshot)
    variants = {
        "small": cv2.resize(headshot, (128, 128), interpolation=cv2.INTER_AREA),
        "dark": (headshot * 0.4).astype(np.uint8),
        "pale": (headshot * 0.5 + 80).astype(np.uint8),
        "grainy": np.clip(headshot + np.random.default_rng(0).normal(0, 4, headshot.shape), 0, 255).astype(np.uint8),
    }
    for name, variant in variants.items():
        assert sharpness(variant) == pytest.approx(sharp, rel=0.2), name


def test_a_flat_picture_is_not_sharp():
    assert sharpness(np.full((200, 200, 3), 120, np.uint8)) < 0.05


def head(yaw, roll=0.0):
    """Landmarks of a simple head, turned: eyes 60 apart, nose standing out, mouth 40 wide."""
    points = np.array([[-30, -30, 0], [30, -30, 0], [0, 5, 33], [-20, 35, 3], [20, 35, 3]], float)
    turn, lean = np.radians(yaw), np.radians(roll)
    x = points[:, 0] * np.cos(turn) + points[:, 2] * np.sin(turn)
    flat = np.stack([x, points[:, 1]], 1)
    return (flat @ np.array([[np.cos(lean), np.sin(lean)], [-np.sin(lean), np.cos(lean)]]) + 100).astype(np.float32)


@pytest.mark.parametrize("yaw", [-60, -30, -10, 0, 10, 30, 60])
@pytest.mark.parametrize("roll", [-20, 0, 20])
def test_yaw_from_five_points(yaw, roll):
    assert yaw_degrees(head(yaw, roll)) == pytest.approx(yaw, abs=6)


def test_yaw_is_the_angle_of_the_nose_across_the_line_from_eyes_to_mouth():
    points = np.array([[203, 100], [245, 103], [223, 128], [200, 139], [243, 142]], np.float32)
    upright = points[3:].mean(0) - points[:2].mean(0)
    across = np.array([upright[1], -upright[0]]) / np.linalg.norm(upright)
    width = max((points[1] - points[0]) @ across, (points[4] - points[3]) @ across)
    nose = (points[2] - points[[0, 1, 3, 4]].mean(0)) @ across
    assert yaw_degrees(points) == pytest.approx(np.degrees(np.arctan2(nose, 0.55 * width)), abs=1e-3)


def test_yaw_of_coinciding_points_is_a_number():
    assert np.isfinite(yaw_degrees(np.zeros((5, 2), np.float32)))


def test_brightness():
    assert brightness(np.zeros((4, 4, 3), np.uint8)) == 0
    assert brightness(np.full((4, 4, 3), 255, np.uint8)) == pytest.approx(1)
    assert brightness(np.full((4, 4, 3), (0, 255, 0), np.uint8)) == pytest.approx(0.587)


def luma(rgb):
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def test_fewer_pixels_blur_and_coarse_codecs_leave_fewer_resolved(headshot):
    whole = resolved(luma(headshot))
    by_pixels = [resolved(luma(far(headshot, side))) for side in (160, 120, 80, 40)]
    assert [whole, *by_pixels] == sorted([whole, *by_pixels], reverse=True)
    assert by_pixels[-1] < 0.5 * whole
    assert resolved(luma(cv2.GaussianBlur(headshot, (0, 0), 2))) < 0.8 * whole
    even = np.ascontiguousarray(headshot[:188, :188])
    for codec, coarse in (("vp8", 60), ("h264", 46)):
        assert resolved(luma(transmit([even] * 3, codec, coarse)[-1])) < 0.85 * whole
        assert resolved(luma(transmit([even] * 3, codec, 10)[-1])) > 0.95 * whole


def test_resolved_pixels_do_not_depend_on_light_or_contrast(headshot):
    whole = resolved(luma(headshot))
    for variant in ((headshot * 0.5).astype(np.uint8), (headshot * 0.6 + 60).astype(np.uint8)):
        assert resolved(luma(variant)) == pytest.approx(whole, rel=0.15)


def test_a_flat_picture_resolves_nothing():
    assert resolved(np.full((150, 150), 90, np.uint8)) == pytest.approx(16, abs=1)
