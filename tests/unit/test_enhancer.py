"""The enhancer's promises, with an engine that answers when it is told to and a clock that is set by hand."""

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from hime_core.faces.geometry import Box, FaceSquare, crop, headshot_of
from hime_core.stream.enhancer import GLANCE_EVERY, cut
from hime_core.stream.job import OnDemand
from hime_core.video.coding import Coding
from hime_core.video.picture import Picture
from tests.unit.enhancer_stage import (
    BOB,
    CLOSE,
    FAR,
    Engine,
    enhancer_of,
    step,
)


def test_far_face_is_enhanced_and_fades_in(scene, clock):
    enhancer = enhancer_of(Engine(), scene, clock)
    scene.faces = [FAR]
    results = [step(enhancer, scene, clock) for _ in range(10)]
    assert [r.outcome for r in results] == ["enhanced"] * 10
    assert results[0].bypasses == ()
    strengths = [float(np.abs(r.patches[0].difference).mean()) for r in results]
    assert strengths[0] < 0.35 * strengths[-1]  # nothing pops
    assert results[-1].faces[0].side == pytest.approx(headshot_of(Box(0, 0, 0, 118 * 0.16)).side, rel=0.1)


def test_what_was_asked_goes_with_its_frame_and_not_only_when_garbage_is_collected(scene, clock):
    engine = Engine(prompt=False)
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [FAR]
    gc.disable()
    try:
        job = enhancer.begin(scene.frame(), clock.now)
        engine.answer()
        assert enhancer.finish(job).outcome == "enhanced"
        asked = weakref.ref(job.request)
        del job
        engine.asked.clear()
        scene.faces = []
        step(enhancer, scene, clock)  # which learns how long the answer took
        assert asked() is None
    finally:
        gc.enable()


def test_no_face_passes_and_says_so(scene, clock):
    result = step(enhancer_of(Engine(), scene, clock), scene, clock)
    assert (result.outcome, result.bypasses, result.patches) == ("passed", ("no_face",), ())


def test_close_face_feeds_the_bank_and_is_used_when_far(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [CLOSE]
    close = [step(enhancer, scene, clock) for _ in range(5)]
    assert {r.outcome for r in close} == {"passed"}
    assert close[-1].bypasses == ("close",)
    assert len(enhancer.people.exemplars()) == 1
    scale = 0.9
    while scale > 0.2:  # walks away
        scale *= 0.96
        scene.faces = [(scale, 320 - 170 * scale, 180 - 125 * scale)]
        step(enhancer, scene, clock)
    last = step(enhancer, scene, clock)
    assert last.outcome == "enhanced"
    assert [e.source for e in engine.asked[-1][0].exemplars] == ["call"] * len(enhancer.people.exemplars())
    assert last.reference_gap == pytest.approx(clock.now - enhancer.people.exemplars()[-1].time, abs=3)
    lr = engine.asked[-1][0].lr
    assert lr.shape[0] in (32, 48, 64)


def coded(step):
    return Coding(step, bytes=1000, macroblocks=920, keyframe=False)


def shown(enhancer, scene, clock, coding, frames=1):
    for _ in range(frames):
        clock.now += 0.05
        result = enhancer.finish(enhancer.begin(scene.frame(), clock.now, coding=coding))
    return result


def test_a_close_face_is_enhanced_while_it_comes_coarsely_coded(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [CLOSE]  # a headshot of 180 px
    clear = shown(enhancer, scene, clock, coded(8.0), 10)
    assert (clear.outcome, clear.bypasses, clear.patches, engine.asked) == ("passed", ("close",), (), [])
    poor = shown(enhancer, scene, clock, coded(90.0), 20)
    assert (poor.outcome, poor.bypasses) == ("enhanced", ())
    request = engine.asked[-1][0]
    assert request.lr.shape == (80, 80, 3)  # reduced by area
    assert [e.id for e in request.exemplars] == [e.id for e in enhancer.people.exemplars()]
    (patch,) = poor.patches
    headshot = poor.faces[0].side
    assert patch.side > headshot and patch.difference.shape == (320, 320, 3)
    strengths = []
    for _ in range(30):
        found = shown(enhancer, scene, clock, coded(8.0))
        strengths.append(max((float(np.abs(p.difference).mean()) for p in found.patches), default=0.0))
    assert found.patches == () and found.bypasses == ("close",)
    falls = -np.diff([float(np.abs(patch.difference).mean()), *strengths])
    # Nothing pops, though this engine's noise is another at another LR side.
    assert max(falls) < 0.5 * float(np.abs(patch.difference).mean())


def test_a_coarse_picture_gains_nothing_from_exemplars_as_coarse(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [CLOSE]
    result = shown(enhancer, scene, clock, coded(90.0), 40)
    assert enhancer.people.exemplars()
    assert (result.outcome, result.bypasses, engine.asked) == ("passed", ("close",), [])


def test_a_call_that_begins_poorly_fills_its_bank_when_it_gets_better(scene, clock):
    enhancer = enhancer_of(Engine(), scene, clock)
    scene.faces = [CLOSE]
    shown(enhancer, scene, clock, coded(90.0), 40)
    shown(enhancer, scene, clock, coded(8.0), 130)
    assert {e.step for e in enhancer.people.exemplars()} == {8.0}
    assert shown(enhancer, scene, clock, coded(90.0), 20).outcome == "enhanced"


def test_a_large_face_without_exemplars_passes(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock, references=0)
    scene.faces = [CLOSE]
    result = shown(enhancer, scene, clock, coded(90.0), 10)
    assert (result.outcome, result.bypasses, engine.asked) == ("passed", ("no_exemplar",), [])
    scene.faces = [FAR]
    assert shown(enhancer, scene, clock, coded(8.0), 30).outcome == "enhanced"  # small ones gain all the same


def test_the_engine_is_left_alone_while_nobody_watches(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [FAR]
    clock.now += 0.05
    unwatched = enhancer.finish(enhancer.begin(scene.frame(), clock.now, watched=False))
    assert (unwatched.outcome, unwatched.bypasses, engine.asked) == ("passed", ("unwatched",), [])
    assert unwatched.demand is None
    assert step(enhancer, scene, clock).outcome == "enhanced"


def test_frames_that_nobody_sees_the_faces_of_are_glanced_at_and_feed_the_bank(scene, clock, monkeypatch):
    enhancer = enhancer_of(Engine(), scene, clock)
    looks, update = [], enhancer._watch.update
    monkeypatch.setattr(enhancer._watch, "update", lambda rgb, gray: looks.append(enhancer._frame) or update(rgb, gray))
    scene.faces = [CLOSE]

    def seen_by(watched: bool, followed: bool) -> tuple[str, ...]:
        clock.now += 0.05
        return enhancer.finish(enhancer.begin(scene.frame(), clock.now, watched, followed)).bypasses

    bypasses = [seen_by(watched=False, followed=False) for _ in range(70)]
    assert looks == list(range(1, 71, GLANCE_EVERY))
    assert set(bypasses) == {("close",), ("unwatched",)}
    assert len(enhancer.people.exemplars()) == 3  # one in thirty frames, as ever
    looks.clear()
    assert [seen_by(watched=False, followed=True), seen_by(watched=True, followed=False)] == [("close",)] * 2
    assert looks == [71, 72]  # as soon as somebody does, every frame


def test_nobody_is_drawn_with_anothers_details(scene, clock):
    """Somebody else comes after the first has gone: of that one's exemplars none is used."""
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [CLOSE]
    for _ in range(5):
        step(enhancer, scene, clock)
    taken = {e.id for e in enhancer.people.exemplars()}
    assert taken
    scene.faces = []
    for _ in range(60):
        step(enhancer, scene, clock)
    scene.faces = [(0.2, 300, 150, BOB)]
    for _ in range(20):
        last = step(enhancer, scene, clock)
    assert last.outcome == "enhanced"
    assert all(request.exemplars == () for request, _ in engine.asked)
    scene.faces = [CLOSE]
    step(enhancer, scene, clock)  # the first is not forgotten
    assert taken <= {e.id for e in enhancer.people.exemplars()}


def test_two_faces_are_both_enhanced_each_by_its_own(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [(0.16, 100, 150), (0.2, 420, 140)]
    for _ in range(6):
        result = step(enhancer, scene, clock)
    assert result.outcome == "enhanced"
    assert len(result.patches) == 2


def test_frame_size_may_change(scene, clock):
    enhancer = enhancer_of(Engine(), scene, clock)
    scene.faces = [FAR]
    for _ in range(3):
        step(enhancer, scene, clock)
    clock.now += 0.05
    small = Picture.from_rgb(cv2.resize(scene.frame().rgb(), (320, 180), interpolation=cv2.INTER_AREA))
    enhancer.finish(enhancer.begin(small, clock.now))
    assert step(enhancer, scene, clock).outcome in ("enhanced", "passed")


def test_coming_close_fades_the_detail_out(scene, clock):
    enhancer = enhancer_of(Engine(), scene, clock)
    scale, sizes = 0.35, []
    while scale < 0.75:
        scene.faces = [(scale, 320 - 170 * scale, 180 - 125 * scale)]
        result = step(enhancer, scene, clock)
        sizes.append((result.faces[0].side, len(result.patches)))
        scale *= 1.02
    beyond = [count for side, count in sizes if side > 96]
    assert beyond[0] == 1
    assert beyond[-1] == 0


def test_people_outlive_the_stream_until_they_are_forgotten(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [CLOSE]
    step(enhancer, scene, clock)
    ids = {e.id for e in enhancer.people.exemplars()}
    enhancer.close()
    assert {e.id for e in enhancer.people.exemplars()} == ids  # they may come back
    enhancer.people.forget(None)
    assert ids <= engine.forgotten


def test_forgetting_the_person_leaves_nothing(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [CLOSE]
    for _ in range(3):
        step(enhancer, scene, clock)
    ids = {e.id for e in enhancer.people.exemplars()}
    assert ids
    enhancer.people.forget(None)
    assert enhancer.people.exemplars() == []
    assert ids <= engine.forgotten
    step(enhancer, scene, clock)
    assert all(memory.detail is None for memory in enhancer._steady._memory.values())
    assert enhancer._request is None


def test_a_face_that_is_close_at_once_is_not_laboured_over(scene, clock):
    """From 640x360 to 1920x1080 between two frames: the tracker goes on, the face is three times as large. What it had
    fades away, at the size it was made."""
    enhancer = enhancer_of(Engine(), scene, clock)
    scene.faces = [(0.4, 300 - 68, 120 - 50)]
    for _ in range(8):
        before = step(enhancer, scene, clock).patches
    assert before
    shown = []
    for _ in range(10):
        clock.now += 0.05
        large = Picture.from_rgb(cv2.resize(scene.frame().rgb(), (1920, 1080), interpolation=cv2.INTER_CUBIC))
        shown.append(enhancer.finish(enhancer.begin(large, clock.now)))
    assert shown[0].faces[0].side > 200
    assert shown[0].patches[0].difference.shape == before[0].difference.shape
    assert shown[-1].patches == ()


@pytest.mark.parametrize("size", [(64, 48), (66, 50)])
@pytest.mark.parametrize("side", [16, 17, 96])
def test_a_square_is_converted_alone_to_the_same_pixels(size, side):
    rgb = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    picture = Picture.from_rgb(rgb)
    places = [(20, 10), (21, 11), (-5, 3), (-40, -40), (55, 41), (200, 7), (size[0] - 1, size[1] - 1)]
    for x, y in places:
        found = cut(picture, FaceSquare(x, y, side))
        assert np.array_equal(found, crop(picture.rgb(), x, y, side)), (x, y)


def test_of_a_frame_that_is_not_searched_no_more_than_the_face_is_converted(scene, clock):
    whole = []
    enhancer = enhancer_of(Engine(), scene, clock, on_stage=lambda stage, seconds: whole.append(stage == "convert"))
    scene.faces = [FAR]
    outcomes = [step(enhancer, scene, clock).outcome for _ in range(20)]
    assert outcomes == ["enhanced"] * 20
    assert 0 < sum(whole) <= 4  # of the frames that are searched


def test_a_picture_on_demand_is_made_once_whoever_asks():
    made = []

    def make() -> np.ndarray:
        made.append(threading.get_ident())
        time.sleep(0.02)
        return np.zeros(1)

    picture = OnDemand(make)
    assert not made
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: picture(), range(8)))
    assert len(made) == 1 and all(one is found[0] for one in found)
