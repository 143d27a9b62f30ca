import threading
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage import data

from hime_core.exemplars.bank import ExemplarBank
from hime_core.exemplars.decisions import DECISIONS
from hime_core.exemplars.exemplar import LONGEST_SIDE, Exemplar, cut_exemplar, plausible, roll_degrees
from hime_core.faces.geometry import Box, Headshot, headshot_of
from hime_core.faces.tracker import TrackedFace

BOX = Box(177.0, 61.0, 87.0, 112.0)
LANDMARKS = np.array([[203, 100], [245, 103], [223, 128], [200, 139], [243, 142]], np.float32)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def portrait():
    return data.astronaut()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def decided():
    return Counter()


@pytest.fixture
def bank(clock, decided):
    return ExemplarBank(clock=clock, on_decision=lambda decision: decided.update([decision]))


def face(**changes):
    return replace(TrackedFace(1, BOX, LANDMARKS, 0.99, 0), **changes)


def exemplar(id, yaw=0.0, light=0.5, side=200.0, source="call", time=0.0, resolved=200.0, seed=None):
    """An exemplar with a drawn look; a turned head moves the nose."""
    random = np.random.default_rng(hash(id) % 1000 if seed is None else seed)
    image = cv2.resize(random.integers(0, 255, (12, 12, 3), np.uint8), (400, 400), interpolation=cv2.INTER_CUBIC)
    landmarks = LANDMARKS + np.array([[0, 0], [0, 0], [yaw * 0.6, 0], [0, 0], [0, 0]], np.float32)
    return Exemplar(id, image, Headshot(200, 200, side), landmarks, 1.0, yaw, light, source, 0, time, resolved)


def test_admits_a_close_sharp_face_every_interval(bank, portrait, clock):
    admitted = []
    for frame in range(0, 100):
        clock.now += 0.05
        if bank.offer(lambda: portrait, face(), frame):
            admitted.append(frame)
    assert admitted == [0, 30, 60, 90]
    newest = bank.exemplars()[-1]
    assert newest.frame == 90 and newest.source == "call"
    assert newest.time == pytest.approx(100 + 91 * 0.05)
    assert len({item.id for item in bank.exemplars()}) == 4


def test_an_exemplar_is_a_copy_of_the_surroundings_in_its_own_pixels(bank, portrait):
    found = bank.offer(lambda: portrait, face(), 0)
    headshot = headshot_of(BOX)
    assert found.native_px == round(headshot.side)
    assert not np.shares_memory(found.image, portrait)
    assert max(found.image.shape) <= min(LONGEST_SIDE, 2 * headshot.side + 1)
    x, y = np.round(found.landmarks[2]).astype(int)
    original_x, original_y = LANDMARKS[2].astype(int)
    assert np.array_equal(found.image[y, x], portrait[original_y, original_x])
    assert found.headshot.cx - found.landmarks[2, 0] == pytest.approx(headshot.cx - LANDMARKS[2, 0], abs=1e-3)


def test_large_faces_are_stored_reduced(portrait):
    scale = 6
    large = cv2.resize(portrait, None, fx=scale, fy=scale)
    box = Box(BOX.x * scale, BOX.y * scale, BOX.width * scale, BOX.height * scale)
    landmarks = (LANDMARKS + 0.5) * scale - 0.5
    found = cut_exemplar(large, box, landmarks, "x", "photo", 0, 0.0)
    assert max(found.image.shape) == LONGEST_SIDE
    small = cut_exemplar(portrait, BOX, LANDMARKS, "y", "photo", 0, 0.0)
    ratio = found.headshot.side / small.headshot.side
    assert np.allclose(found.landmarks + 0.5, (small.landmarks + 0.5) * ratio, atol=1.5)


@pytest.mark.parametrize(
    "changes,reason",
    [
        ({"box": Box(212, 110, 21, 27)}, "small"),
        ({"score": 0.5}, "uncertain"),
        ({"seen": 60}, "uncertain"),
        ({"box": Box(-20, 61, 87, 112)}, "cut_off"),
        ({"box": Box(177, 430, 87, 112)}, "cut_off"),
        ({"landmarks": LANDMARKS[[1, 0, 2, 4, 3]]}, "implausible"),
        ({"landmarks": LANDMARKS + 70}, "implausible"),
        ({"landmarks": np.full((5, 2), np.nan, np.float32)}, "implausible"),
        ({"landmarks": LANDMARKS + np.array([[0, 0], [0, 0], [30, 0], [0, 0], [0, 0]], np.float32)}, "turned"),
    ],
)
def test_refuses_and_says_why(bank, decided, portrait, changes, reason):
    assert bank.offer(lambda: portrait, face(**changes), 0) is None
    assert dict(decided) == {reason: 1} and reason in DECISIONS
    assert bank.exemplars() == []


def test_refuses_what_is_blurred_or_in_motion(bank, decided, portrait):
    blurred = cv2.GaussianBlur(portrait, (0, 0), 5)
    assert bank.offer(lambda: blurred, face(), 0) is None
    moved = face(box=replace(BOX, x=BOX.x + 25), landmarks=LANDMARKS + np.array([25, 0], np.float32))
    assert bank.offer(lambda: portrait, moved, 6) is not None  # 4 pixels a frame are slow for this face
    assert dict(decided) == {"blurred": 1, "taken": 1}
    decided.clear()
    other = ExemplarBank(on_decision=lambda decision: decided.update([decision]))
    other.offer(lambda: blurred, face(), 10)
    other.offer(lambda: blurred, face(), 12)
    assert other.offer(lambda: portrait, moved, 13) is None
    assert dict(decided) == {"blurred": 1, "moving": 1}


def test_a_refused_face_is_tried_again_before_the_interval_is_over(bank, portrait):
    assert bank.offer(lambda: portrait, face(score=0.2), 0) is None
    assert [bool(bank.offer(lambda: portrait, face(), frame)) for frame in range(1, 6)] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_is_bounded_and_keeps_what_differs(bank, portrait, clock):
    for frame in range(0, 30 * 40, 30):
        clock.now += 1
        bank.offer(lambda: portrait, face(), frame)
        if frame == 300:
            light = np.linspace(0.4, 1.3, 90)  # from the side
            other = portrait.astype(float)
            other[:, 175:265] *= light[:, None]
            other = np.clip(other, 0, 255).astype(np.uint8)
            odd = bank.offer(lambda other=other: other, face(), frame + 30)
            assert odd is not None
    kept = bank.exemplars()
    assert len(kept) == 16
    assert kept[-1].frame == 30 * 39
    assert odd in kept


def softened(portrait, pixels):
    """The portrait as a camera with so many pixels across the headshot would show it, at the same size."""
    share = pixels / headshot_of(BOX).side
    small = cv2.resize(portrait, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, portrait.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def test_small_faces_are_admitted_while_there_is_nothing_better_and_go_when_there_is(bank, decided, portrait):
    poor = softened(portrait, 90)
    for frame in range(0, 120, 30):
        assert bank.offer(lambda: poor, face(), frame) is not None
    for frame in range(120, 210, 30):
        assert bank.offer(lambda: portrait, face(), frame) is not None
    assert [item.frame for item in bank.exemplars()] == [120, 150, 180]  # the poor ones are outdone
    assert dict(decided) == {"taken": 7, "replaced": 4}


def test_what_is_poorer_than_the_bank_is_refused(bank, decided, portrait):
    assert bank.offer(lambda: portrait, face(), 0) is not None
    assert bank.offer(lambda: softened(portrait, 70), face(), 30) is None
    assert dict(decided) == {"taken": 1, "poorer": 1}
    assert bank.offer(lambda: portrait, face(), 33) is not None


def test_a_coarse_quantizer_counts_against_a_face(bank, portrait):
    fine = bank.offer(lambda: portrait, face(), 0, step=8.0)
    assert (fine.step, fine.resolved) == (8.0, bank.exemplars()[0].resolved)
    coarse = bank.offer(lambda: portrait, face(), 30, step=90.0)
    assert coarse is None or coarse.resolved < 0.8 * fine.resolved
    assert bank.offer(lambda: portrait, face(), 33, step=8.0) is not None


def test_exemplars_that_show_too_little_are_not_chosen(bank):
    for item in (exemplar("rich", resolved=200.0), exemplar("poor", resolved=90.0)):
        bank.add_photo(item)
    assert {e.id for e in bank.select(LANDMARKS, 0.0, 0.5, 32, 4)} == {"rich", "poor"}
    assert [e.id for e in bank.select(LANDMARKS, 0.0, 0.5, 32, 4, least=100.0)] == ["rich"]
    assert bank.select(LANDMARKS, 0.0, 0.5, 32, 4, least=300.0) == ()


def test_coarsely_coded_exemplars_are_not_used_beside_finer_ones(bank):
    bank.add_photo(replace(exemplar("coarse"), step=70.0))
    assert [e.id for e in bank.select(LANDMARKS, 0.0, 0.5, 32, 4)] == ["coarse"]
    bank.add_photo(replace(exemplar("fine"), step=10.0))
    bank.add_photo(replace(exemplar("middling"), step=20.0))
    assert {e.id for e in bank.select(LANDMARKS, 0.0, 0.5, 32, 4)} == {"fine", "middling"}


def test_photos_outlive_the_call(bank, portrait, clock):
    for i in range(3):
        bank.add_photo(exemplar(f"photo-{i}", source="photo"))
    for frame in range(0, 30 * 40, 30):
        clock.now += 1
        bank.offer(lambda: portrait, face(), frame)
    assert len(bank.exemplars()) == 16
    assert sum(item.source == "photo" for item in bank.exemplars()) == 3


def test_faces_of_the_call_that_make_room_for_photos_are_counted(bank, decided, portrait, clock):
    for frame in range(0, 30 * 16, 30):
        clock.now += 1
        bank.offer(lambda: portrait, face(), frame)
    assert dict(decided) == {"taken": 16}
    for i in range(3):
        bank.add_photo(exemplar(f"photo-{i}", source="photo"))
    assert dict(decided) == {"taken": 16, "replaced": 3}
    for i in range(3, 20):
        bank.add_photo(exemplar(f"photo-{i}", source="photo"))  # half of the bank at most
    assert dict(decided) == {"taken": 16, "replaced": 8}


def test_what_came_of_one_view_of_a_face_goes_to_another_bank(bank, portrait):
    for frame in range(3):
        bank.offer(lambda: portrait, face(track=7), 30 * frame)
    bank.add_photo(exemplar("photo", source="photo"))
    bank.offer(lambda: portrait, face(track=8), 90)
    gone = bank.release(7)
    assert [item.sighting for item in gone] == [7, 7, 7]
    assert [(item.source, item.sighting) for item in bank.exemplars()] == [("photo", 0), ("call", 8)]
    other = ExemplarBank(capacity=2)
    left_out = other.adopt(gone)
    assert {item.id for item in other.exemplars()} | set(left_out) == {item.id for item in gone}
    assert len(other.exemplars()) == 2
    assert bank.release(7) == [] and other.adopt([]) == []


def test_photos_fill_half_the_bank_at_most(bank):
    for i in range(12):
        bank.add_photo(exemplar(f"photo-{i}", source="photo", time=i))
    assert len(bank.exemplars()) == 8
    assert "photo-11" in {item.id for item in bank.exemplars()}


def test_of_two_alike_the_older_goes():
    bank = ExemplarBank(capacity=4)
    for i, seed in enumerate((1, 1, 2)):
        bank.add_photo(exemplar(f"{i}", source="photo", time=100.0 * i, seed=seed))
    assert [item.id for item in bank.exemplars()] == ["1", "2"]


def test_a_photo_replaces_one_of_the_same_id_and_can_be_removed(bank):
    bank.add_photo(exemplar("a", source="photo"))
    again = exemplar("a", source="photo", time=5)
    bank.add_photo(again)
    assert bank.exemplars() == [again]
    bank.remove(["a", "unknown"])
    assert bank.exemplars() == []
    assert bank.select(LANDMARKS, 0, 0.5, 32, 4) == ()


def test_selects_by_size_first_then_by_pose_and_light(bank):
    for item in (
        exemplar("small", side=130.0),
        exemplar("turned", yaw=30.0),
        exemplar("dark", light=0.1),
        exemplar("match", yaw=2.0),
        exemplar("soft", resolved=120.0),
    ):
        bank.add_photo(item)
    at_32 = [item.id for item in bank.select(LANDMARKS, 0.0, 0.5, 32, 4, count=5)]
    assert at_32[0] in ("match", "small") and at_32.index("match") < at_32.index("soft")
    at_48 = [item.id for item in bank.select(LANDMARKS, 0.0, 0.5, 48, 4, count=5)]
    assert at_48[0] == "match" and at_48[-1] == "small"
    turned = exemplar("face", yaw=28.0)
    assert bank.select(turned.landmarks, 28.0, 0.5, 48, 4, count=1)[0].id == "turned"
    assert len(bank.select(LANDMARKS, 0.0, 0.5, 32, 4)) == 3


def test_the_choice_is_steady_until_another_is_clearly_better(bank):
    for yaw in (-24, -12, 0, 12, 24):
        bank.add_photo(exemplar(f"at {yaw}", yaw=float(yaw), seed=0))
    random = np.random.default_rng(0)
    choices = []
    for _ in range(60):
        yaw = 6 + random.normal(0, 1.0)
        choices.append(tuple(item.id for item in bank.select(exemplar("", yaw=yaw).landmarks, yaw, 0.5, 32, 4)))
    assert len({(choice[0], frozenset(choice)) for choice in choices[5:]}) == 1
    turned = exemplar("", yaw=24.0)
    assert bank.select(turned.landmarks, 24.0, 0.5, 32, 4)[0].id == "at 24"


def test_threads_may_offer_select_and_remove_at_once(portrait):
    bank = ExemplarBank(interval=1)
    failures = []

    def work(job):
        try:
            for i in range(40):
                job(i)
        except Exception as error:
            failures.append(error)

    jobs = [
        lambda i: bank.offer(lambda: portrait, face(), i),
        lambda i: bank.add_photo(exemplar(f"{i}", source="photo")),
        lambda i: bank.remove([f"{i - 3}"]),
        lambda i: bank.select(LANDMARKS, 0, 0.5, 32, 4),
        lambda i: bank.release(1) if i % 10 == 0 else bank.exemplars(),
    ]
    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(bank.exemplars()) <= 16


def test_a_bank_needs_room():
    with pytest.raises(ValueError, match="at least 2"):
        ExemplarBank(capacity=1)


def test_landmarks_of_a_face_are_plausible():
    assert plausible(LANDMARKS, BOX)
    assert not plausible(LANDMARKS, replace(BOX, x=BOX.x + 80))
    assert abs(roll_degrees(LANDMARKS)) < 5
    lying = np.stack([300 - LANDMARKS[:, 1], LANDMARKS[:, 0]], 1)
    assert roll_degrees(lying) == pytest.approx(90 + roll_degrees(LANDMARKS), abs=1e-3)


def test_a_small_face_is_refused_without_its_picture():
    decisions: list[str] = []
    bank = ExemplarBank(on_decision=decisions.append)

    def picture():
        raise AssertionError("the whole frame would be converted for nothing")

    small = Box(BOX.x, BOX.y, 20.0, 26.0)
    assert bank.offer(picture, face(box=small), 0) is None
    assert decisions == ["small"]
