import cv2
import numpy as np
import pytest
import torch
from skimage import data

from hime_core.faces.detector import Detection, MtcnnDetector, ScanningDetector, distinct
from hime_core.faces.geometry import SIDE_PER_BOX_HEIGHT, Box, iou
from hime_core.faces.watch import FaceWatch

FACE = Box(177.0, 61.0, 87.0, 112.0)  # of the astronaut, as MTCNN sees it at full size


@pytest.fixture(scope="module")
def mtcnn():
    return MtcnnDetector()


@pytest.fixture(scope="module")
def portrait():
    return data.astronaut()


@pytest.fixture
def searched(mtcnn):
    """Pixels that the first network took, one number for each picture."""
    pixels = []
    hook = mtcnn._networks._propose.register_forward_pre_hook(
        lambda _, args: pixels.append(args[0].shape[2] * args[0].shape[3])
    )
    yield pixels
    hook.remove()


def scene(portrait, face_height, place, size, behind=(96, 104, 110)):
    """A room of (width, height), plain or a picture, with the astronaut's face of a given height centred at a place."""
    scale = face_height / FACE.height
    small = cv2.resize(portrait[:300], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    width, height = size
    frame = np.broadcast_to(np.array(behind, np.uint8), (height, width, 3)).copy()
    x, y = (round(at - centre * scale) for at, centre in zip(place, FACE.centre, strict=True))
    top, left = max(0, y), max(0, x)
    part = small[top - y : height - y, left - x : width - x]
    frame[top : top + part.shape[0], left : left + part.shape[1]] = part
    return frame


def test_finds_the_face_and_its_landmarks(mtcnn, portrait):
    (face,) = mtcnn.detect(portrait)
    assert iou(face.box, FACE) > 0.85
    assert face.score > 0.99
    assert face.landmarks.shape == (5, 2) and face.landmarks.dtype == np.float32
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (23, 400), (24, 24), (25, 600)])
def test_small_images_hold_no_face(mtcnn, shape):
    assert mtcnn.detect(np.zeros((*shape, 3), np.uint8)) == []
    assert mtcnn.refine(np.zeros((*shape, 3), np.uint8), Box(2, 2, 10, 10)) is None
    assert ScanningDetector(mtcnn).detect(np.zeros((*shape, 3), np.uint8), [Box(2, 2, 10, 10)]) == []


def test_nothing_is_found_in_noise_or_things(mtcnn):
    noise = np.random.default_rng(0).integers(0, 255, (180, 320, 3), np.uint8)
    for picture in (noise, data.coffee(), data.chelsea()[:, ::-1]):
        assert ScanningDetector(mtcnn).detect(np.ascontiguousarray(picture)) == []


def test_leaves_the_thread_count_as_it_was(mtcnn, portrait):
    before = torch.get_num_threads()
    mtcnn.detect(portrait[:200, 100:300])
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("height", [19, 28, 48, 90])
def test_a_known_face_is_measured_as_a_scan_measures_it(mtcnn, portrait, height):
    frame = scene(portrait, height, (150, 90), (320, 180))
    detector = ScanningDetector(mtcnn, every=1000)
    (scanned,) = detector.detect(frame)
    off = Box(
        scanned.box.x + 0.08 * height, scanned.box.y - 0.05 * height, scanned.box.width, scanned.box.height * 1.05
    )
    (known,) = detector.detect(frame, [off])
    assert known.box.height == pytest.approx(scanned.box.height, rel=0.05)
    assert scanned.box.height == pytest.approx(height, rel=0.08)
    assert known.box.centre == pytest.approx(scanned.box.centre, abs=0.05 * height)
    assert np.abs(known.landmarks - scanned.landmarks).max() < 0.06 * height


def test_a_far_face_in_a_wide_frame_shows_at_native_scale(mtcnn, portrait):
    frame = scene(portrait, 19, (420, 200), (640, 360))
    detector = ScanningDetector(mtcnn)
    found = next((faces for faces in (detector.detect(frame) for _ in range(6)) if faces), [])
    assert len(found) == 1
    assert found[0].box.centre == pytest.approx((420, 200), abs=2.5)


def kitchen(size):
    """Things and fur, with the grain of a camera, over a whole frame."""
    parts = [cv2.resize(picture, (size[0] // 2, size[1])) for picture in (data.coffee(), data.chelsea())]
    grain = np.random.default_rng(1).normal(0, 3, (size[1], size[0], 3))
    return np.clip(np.concatenate(parts, 1) + grain, 0, 255).astype(np.uint8)


HD = [(1280, 720), (1920, 1080), (1080, 1920)]


@pytest.mark.parametrize("size", HD)
@pytest.mark.parametrize(("headshot", "place"), [(36, (0.63, 0.5)), (44, (0.2, 0.85)), (60, (0.93, 0.1))])
def test_a_still_far_face_is_found_within_two_seconds_of_a_call(mtcnn, portrait, size, headshot, place):
    place = tuple(side * at for side, at in zip(size, place, strict=True))
    frame = scene(portrait, headshot / SIDE_PER_BOX_HEIGHT, place, size, kitchen(size))
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    watch = FaceWatch(ScanningDetector(mtcnn), 5, in_step=True)
    for _ in range(2 * 25):
        (face,) = watch.update(lambda: frame, gray.copy()) or (None,)
        if face:
            break
    assert face and face.box.centre == pytest.approx(place, abs=3)
    assert face.box.height == pytest.approx(headshot / SIDE_PER_BOX_HEIGHT, rel=0.15)


@pytest.mark.parametrize("size", HD)
def test_a_far_face_that_appears_is_found_before_its_turn(mtcnn, portrait, size):
    detector, room = ScanningDetector(mtcnn), kitchen(size)
    waits = []
    for x, y in [(0.1, 0.2), (0.5, 0.5), (0.8, 0.9), (0.3, 0.7)]:
        for _ in range(8):
            assert detector.detect(room) == []
        frame = scene(portrait, 26, (size[0] * x, size[1] * y), size, room)
        waits.append(next(call for call in range(1, 11) if detector.detect(frame)))
    assert max(waits) <= 4 and np.mean(waits) < 3


@pytest.mark.parametrize("size", HD)
def test_a_call_on_a_large_frame_costs_as_much_as_one_on_a_small_one(mtcnn, searched, size):
    detector, room, calls = ScanningDetector(mtcnn), kitchen(size), []
    for _ in range(12):
        searched.clear()
        detector.detect(room)
        calls.append(sum(searched))
    searched.clear()
    mtcnn.detect(room[:360, :640])
    assert max(calls) < 1.5 * sum(searched) and np.mean(calls) < 1.1 * sum(searched)
    searched.clear()
    mtcnn.detect(room)
    assert max(calls) < sum(searched) / 3


def test_where_a_face_is_known_none_is_sought_in_the_tiles(mtcnn, portrait, searched):
    room = kitchen((1280, 720))
    frame = scene(portrait, 30, (640, 360), (1280, 720), room)
    detector = ScanningDetector(mtcnn, every=1000)
    known = next(faces for faces in (detector.detect(frame) for _ in range(10)) if faces)
    seen = []
    look, mtcnn_detect = detector._search, mtcnn.detect
    detector._search = lambda rgb, box: seen.append(box) or look(rgb, box)
    for _ in range(10):
        known = detector.detect(frame, [known[0].box])
        assert len(known) == 1
    assert mtcnn_detect(frame, min_face=24, max_face=24)  # it shows at this scale
    assert not seen


def test_a_second_face_is_found_while_the_first_is_known(mtcnn, portrait):
    left = scene(portrait, 50, (80, 80), (160, 180))
    detector = ScanningDetector(mtcnn, every=3)
    (first,) = detector.detect(np.concatenate([left, np.full_like(left, 100)], 1))
    both = np.concatenate([left, left[:, ::-1]], 1)
    seen = [sorted(round(face.box.centre[0] / 80) for face in detector.detect(both, [first.box])) for _ in range(3)]
    assert [1, 3] in seen  # at every third call
    assert all(1 in faces for faces in seen)


def test_a_wrong_idea_of_where_a_face_is_costs_nothing(mtcnn, portrait):
    frame = scene(portrait, 50, (80, 80), (320, 180))
    detector = ScanningDetector(mtcnn, every=1000)
    (face,) = detector.detect(frame, [Box(230, 60, 40, 50), Box(-500, -500, 40, 50), Box(60, 55, 3, 3)])
    assert face.box.centre == pytest.approx((80, 80), abs=4)


def test_one_schedule_per_stream(mtcnn):
    detector = ScanningDetector(mtcnn, every=4)
    assert detector.for_stream() is not detector
    assert detector.for_stream().detector is mtcnn


def test_distinct_keeps_the_first_of_overlapping_and_nested_boxes():
    points = np.zeros((5, 2), np.float32)
    boxes = [Box(0, 0, 100, 100), Box(10, 10, 100, 100), Box(30, 30, 30, 30), Box(200, 0, 50, 50)]
    kept = distinct([Detection(box, points, 1.0) for box in boxes])
    assert [detection.box for detection in kept] == [boxes[0], boxes[3]]


def test_moved_keeps_boxes_and_landmarks_together():
    detection = Detection(Box(10, 20, 8, 8), np.full((5, 2), 13.5, np.float32), 1.0)
    moved = detection.moved(2, 100, 50)
    assert moved.box == Box(120, 90, 16, 16)
    assert moved.landmarks[0].tolist() == [128 - 0.5, 78 - 0.5]
