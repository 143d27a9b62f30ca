import cv2
import numpy as np
import pytest
from skimage import data

from hime_core.faces.detector import Detection
from hime_core.faces.geometry import Box
from hime_core.faces.tracker import MAX_COASTING, MAX_MISSES, FaceTracker

SIZE = (320, 180)
FACE = Box(177.0, 61.0, 87.0, 112.0)
LANDMARKS = np.array([[203, 100], [245, 103], [223, 128], [200, 139], [243, 142]], np.float32)
ROOM = cv2.resize(cv2.cvtColor(data.coffee(), cv2.COLOR_RGB2GRAY), SIZE, interpolation=cv2.INTER_AREA)


def shot(scale, x, y, noise=None):
    """A frame in which the astronaut's face is centred at (x, y), and the detection that is true of it."""
    portrait = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY)
    centre = FACE.centre
    matrix = np.array([[scale, 0, x - scale * centre[0]], [0, scale, y - scale * centre[1]]], np.float32)
    soft = cv2.GaussianBlur(portrait, (0, 0), max(0.01, 0.4 / scale))
    frame = ROOM.copy()
    inside = cv2.warpAffine(np.full((300, 400), 255, np.uint8), matrix, SIZE) > 127
    frame[inside] = cv2.warpAffine(soft, matrix, SIZE)[inside]
    if noise is not None:
        frame = np.clip(frame + noise.normal(0, 2, frame.shape), 0, 255).astype(np.uint8)
    width, height = FACE.width * scale, FACE.height * scale
    landmarks = (LANDMARKS * scale + matrix[:, 2]).astype(np.float32)
    return frame, Detection(Box(x - width / 2, y - height / 2, width, height), landmarks, 0.99)


def error(face, truth):
    """The largest error of a corner or landmark, in face heights."""
    a, b = face.box, truth.box
    corners = [a.x - b.x, a.y - b.y, a.x + a.width - b.x - b.width, a.y + a.height - b.y - b.height]
    return max(np.abs(corners).max(), np.abs(face.landmarks - truth.landmarks).max()) / b.height


def started(scale=0.4, x=100.0, y=90.0):
    tracker = FaceTracker()
    frame, truth = shot(scale, x, y)
    assert tracker.update(frame) == []
    (face,) = tracker.correct([truth], frame)
    assert face.seen == 0 and error(face, truth) < 1e-3
    return tracker, face.track


@pytest.mark.parametrize("scale", [0.17, 0.4, 0.9])
def test_flow_follows_a_face_that_moves_and_grows(scale):
    tracker, track = started(scale)
    for i in range(1, 25):
        frame, truth = shot(scale * 1.01**i, 100 + 2.3 * i * scale / 0.4, 90 - 0.7 * i * scale / 0.4)
        (face,) = tracker.update(frame)
        assert face.track == track and face.seen == i
        assert error(face, truth) < 0.08


@pytest.mark.parametrize(("scale", "most"), [(0.14, 0.08), (0.9, 0.02)])
def test_a_face_in_noise_is_followed_without_a_detection(scale, most):
    noise, errors = np.random.default_rng(2), []
    tracker, _ = started(scale)
    for i in range(1, 25):
        frame, truth = shot(scale, 100 + 0.4 * i, 90 - 0.2 * i, noise)
        (face,) = tracker.update(frame)
        errors.append(error(face, truth))
    assert max(errors) < most


def test_a_late_detection_is_carried_to_the_present():
    tracker, track = started()
    frames = [shot(0.4, 100 + 3 * i, 90) for i in range(1, 9)]
    for frame, _ in frames:
        tracker.update(frame)
    late, truth = frames[1]
    (face,) = tracker.correct([truth], late)
    assert face.track == track and face.seen == 6
    for _ in range(8):
        (face,) = tracker.update(frames[-1][0])
    assert error(face, frames[-1][1]) < 0.05


def test_a_new_face_found_late_appears_where_it_is_now():
    tracker = FaceTracker()
    frames = [shot(0.4, 100 + 2 * i, 90) for i in range(6)]
    for frame, _ in frames:
        tracker.update(frame)
    (face,) = tracker.correct([frames[0][1]], frames[0][0])
    assert error(face, frames[-1][1]) < 0.05


def test_noisy_detections_do_not_shake_a_still_face():
    random = np.random.default_rng(1)
    tracker, _ = started()
    sides, detected = [], []
    for i in range(120):
        frame, truth = shot(0.4, 100, 90, noise=random)
        (face,) = tracker.update(frame)
        sides.append(face.box.height / truth.box.height)
        if i % 5 == 0:
            box = truth.box
            height = box.height * (1 + random.normal(0, 0.04))
            detected.append(height / box.height)
            shaken = Box(box.x + random.normal(0, 1), box.y + (box.height - height) / 2, box.width, height)
            tracker.correct([Detection(shaken, truth.landmarks, 0.99)], frame)
    assert np.abs(np.diff(sides)).max() < 0.01
    assert np.std(sides) < 0.5 * np.std(detected)
    assert np.mean(sides[40:]) == pytest.approx(1, abs=0.03)


def test_a_track_that_starts_off_the_face_is_pulled_onto_it_gently():
    tracker, _ = started()
    frame, truth = shot(0.4, 100, 90)
    wrong = Detection(
        Box(truth.box.x + 6, truth.box.y, truth.box.width * 1.15, truth.box.height), truth.landmarks, 0.99
    )
    tracker = FaceTracker()
    tracker.update(frame)
    (face,) = tracker.correct([wrong], frame)
    steps, before = [], face.box.x
    for _ in range(10):
        for _ in range(5):
            (face,) = tracker.update(frame)
            steps.append(abs(face.box.x - before))
            before = face.box.x
        tracker.correct([truth], frame)
    assert max(steps) < 1.5
    assert error(face, truth) < 0.05


def test_a_cut_ends_all_tracks():
    tracker, _ = started()
    assert tracker.update(ROOM.copy()) == []
    assert tracker.correct([], ROOM) == []


@pytest.mark.parametrize("size", [(640, 360), (240, 136), (160, 90)])
def test_a_face_is_followed_when_the_sender_changes_the_resolution(size):
    """Senders do so when their uplink or processor is short; a track that ended would empty the bank."""
    tracker, track = started(0.6)
    tracker.update(shot(0.6, 101, 90)[0])
    frame, truth = shot(0.6, 103, 90)
    method = cv2.INTER_AREA if size[0] < 320 else cv2.INTER_CUBIC
    (face,) = tracker.update(cv2.resize(frame, size, interpolation=method))
    scaled = truth.moved(size[0] / 320, 0, 0)
    assert face.track == track
    assert error(face, scaled) < 0.08


def test_a_picture_of_another_shape_starts_afresh():
    tracker, _ = started()
    frame, _ = shot(0.4, 100, 90)
    assert tracker.update(cv2.resize(frame, (180, 320))) == []


def test_a_flat_frame_is_survived_for_a_moment_only():
    tracker, _ = started()
    still, _ = shot(0.4, 100, 90)
    counts = [len(tracker.update(np.full_like(still, 128))) for _ in range(MAX_COASTING + 2)]
    assert counts[-1] == 0


def test_a_face_that_leaves_is_dropped():
    tracker, _ = started(x=280.0)
    faces = [tracker.update(shot(0.4, 280 + 4 * i, 90)[0]) for i in range(1, 20)]
    assert faces[3] and not faces[-1]


def test_detections_that_miss_a_track_end_it():
    tracker, _ = started()
    frame, _ = shot(0.4, 100, 90)
    counts = []
    for _ in range(MAX_MISSES):
        tracker.update(frame)
        counts.append(len(tracker.correct([], frame)))
    assert counts == [1] * (MAX_MISSES - 1) + [0]


def test_a_face_seen_again_in_time_lives_on():
    tracker, track = started()
    frame, truth = shot(0.4, 100, 90)
    for detections in ([], [truth], [], [truth], []):
        tracker.update(frame)
        (face,) = tracker.correct(detections, frame)
        assert face.track == track


def test_two_faces_keep_their_tracks_apart():
    tracker = FaceTracker()

    def pair(i):
        left, a = shot(0.35, 70 + i, 90)
        right, b = shot(0.35, 250 - i, 90)
        return np.where(np.arange(SIZE[0]) < 160, left, right), a, b

    frame, a, b = pair(0)
    tracker.update(frame)
    first = tracker.correct([a, b], frame)
    for i in range(1, 20):
        frame, a, b = pair(i)
        now = tracker.update(frame)
        if i % 4 == 0:
            now = tracker.correct([b, a] if i % 8 else [a, b], frame)
    assert [face.track for face in now] == [face.track for face in first] == [1, 2]


def test_detections_on_an_unknown_frame_are_ignored():
    tracker, _ = started()
    stranger, truth = shot(0.4, 200, 90)
    assert len(tracker.correct([truth], stranger)) == 1
    assert len(tracker.correct([], stranger)) == 1


def test_correct_before_any_frame_finds_nothing():
    frame, truth = shot(0.4, 100, 90)
    assert FaceTracker().correct([truth], frame) == []


def test_a_plausible_second_detection_of_the_same_face_makes_no_second_track():
    tracker, _ = started()
    frame, truth = shot(0.4, 100, 90)
    tracker.update(frame)
    box = truth.box
    twin = Detection(Box(box.x + 4, box.y + 4, box.width, box.height), truth.landmarks, 0.96)
    assert len(tracker.correct([truth, twin], frame)) == 1


def test_a_face_that_moves_and_is_seen_leaves_no_doubt():
    tracker, _ = started()
    for i in range(1, 16):
        frame, truth = shot(0.4, 100 + 2 * i, 90)
        tracker.update(frame)
        (face,) = tracker.correct([truth], frame)
    assert face.doubts == 0


def test_a_track_that_may_have_gone_over_to_another_face_says_so():
    tracker, track = started()
    frame, truth = shot(0.4, 100, 90)
    tracker.update(frame)
    beside = Box(truth.box.x + 0.4 * truth.box.height, truth.box.y, truth.box.width, truth.box.height)
    (face,) = tracker.correct([Detection(beside, truth.landmarks + 0.4 * truth.box.height, 0.99)], frame)
    assert (face.track, face.doubts) == (track, 1)  # it jumped
    for _ in range(2):
        frame, _ = shot(0.4, 100, 90)
        tracker.update(frame)
        tracker.correct([], frame)  # not seen, twice
    frame, truth = shot(0.4, 100, 90)
    (before,) = tracker.update(frame)
    (face,) = tracker.correct([Detection(before.box, truth.landmarks, 0.99)], frame)
    assert (face.track, face.doubts) == (track, 2)
