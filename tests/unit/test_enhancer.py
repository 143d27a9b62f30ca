"""The enhancer's promises, with an engine that answers when it is told to and a clock that is set by hand."""

from collections.abc import Sequence
from concurrent.futures import Future
from itertools import cycle

import cv2
import numpy as np
import pytest
from skimage import data

from hime_core.bank import ExemplarBank
from hime_core.engine import FaceRequest, Late, Overload
from hime_core.enhancer import GLANCE_EVERY, Enhancer, EnhancerConfig
from hime_core.faces.detector import Detection
from hime_core.faces.geometry import Box, headshot_of
from hime_core.pace import Pace, Plan
from hime_core.picture import Picture

# The astronaut's face as MTCNN finds it, in the 512 px picture.
FACE = Box(177, 66, 88, 118)
LANDMARKS = np.array([[201, 110], [243, 108], [224, 134], [206, 154], [243, 152]], np.float32)

PORTRAIT = data.astronaut()[:300, 60:400]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Engine:
    """Keeps what it is asked until `answer`; at once when `prompt`."""

    scale = 4

    def __init__(self, prompt: bool = True) -> None:
        self.prompt = prompt
        self.asked: list[tuple[FaceRequest, Future]] = []
        self.forgotten: set[str] = set()
        self.error: Exception | None = None

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future]:
        futures = []
        for request in requests:
            self.asked.append((request, Future()))
            futures.append(self.asked[-1][1])
            if self.prompt:
                self.answer()
        return futures

    def answer(self) -> None:
        request, future = self.asked[-1]
        if self.error:
            future.set_exception(self.error)
            return
        side = 4 * request.lr.shape[0]
        sharper = cv2.resize(request.lr, (side, side), interpolation=cv2.INTER_LANCZOS4).astype(int)
        noise = np.random.default_rng(0).integers(-30, 31, (side, side, 1))
        future.set_result(np.clip(sharper + noise, 0, 255).astype(np.uint8))

    def forget(self, ids) -> None:
        self.forgotten |= set(ids)

    def close(self) -> None: ...


class Scene:
    """The astronaut at a scale and place in a 640x360 frame, and the detector that knows where."""

    def __init__(self) -> None:
        self.faces: list[tuple[float, float, float]] = []  # scale, x, y

    def frame(self) -> Picture:
        canvas = np.full((360, 640, 3), 90, np.uint8)
        for scale, x, y in self.faces:
            small = cv2.resize(PORTRAIT, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            x, y = round(x), round(y)
            part = small[: 360 - y, : 640 - x]
            canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
        return Picture.from_rgb(canvas)

    def detect(self, rgb, last=()) -> list[Detection]:
        found = []
        for scale, x, y in self.faces:
            left, top = (FACE.x - 60) * scale + x, FACE.y * scale + y
            box = Box(left, top, FACE.width * scale, FACE.height * scale)
            points = (LANDMARKS - (60, 0)) * scale + (x, y)
            found.append(Detection(box, points.astype(np.float32), 0.99))
        return found


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def scene():
    return Scene()


def enhancer_of(engine, scene, clock, **config) -> Enhancer:
    """Detection is in step, so that tests need no waiting; patience is set after."""
    enhancer = Enhancer(engine, scene, ExemplarBank(clock=clock), EnhancerConfig(patience=None, **config), clock=clock)
    return enhancer


def patient(enhancer: Enhancer, patience: float | None) -> None:
    enhancer._config = EnhancerConfig(patience=patience)


def step(enhancer, scene, clock, seconds=0.05):
    clock.now += seconds
    return enhancer.finish(enhancer.begin(scene.frame(), clock.now))


FAR, CLOSE = (0.16, 300, 150), (0.9, 150, 20)


def test_far_face_is_enhanced_and_fades_in(scene, clock):
    enhancer = enhancer_of(Engine(), scene, clock)
    scene.faces = [FAR]
    results = [step(enhancer, scene, clock) for _ in range(10)]
    assert [r.outcome for r in results] == ["enhanced"] * 10
    assert results[0].bypasses == ()
    strengths = [float(np.abs(r.patches[0].difference).mean()) for r in results]
    assert strengths[0] < 0.35 * strengths[-1]  # nothing pops
    assert results[-1].faces[0].side == pytest.approx(headshot_of(Box(0, 0, 0, 118 * 0.16)).side, rel=0.1)


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
    assert len(enhancer.bank.exemplars()) == 1
    scale = 0.9
    while scale > 0.2:  # walks away
        scale *= 0.96
        scene.faces = [(scale, 320 - 170 * scale, 180 - 125 * scale)]
        step(enhancer, scene, clock)
    last = step(enhancer, scene, clock)
    assert last.outcome == "enhanced"
    assert [e.source for e in engine.asked[-1][0].exemplars] == ["call"] * len(enhancer.bank.exemplars())
    assert last.reference_gap == pytest.approx(clock.now - enhancer.bank.exemplars()[-1].time, abs=3)
    lr = engine.asked[-1][0].lr
    assert lr.shape[0] in (32, 48, 64)


def test_slow_engine_is_not_waited_for_twice_and_its_late_answers_are_carried(scene, clock):
    engine = Engine(prompt=False)
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [FAR]
    patient(enhancer, 0.05)
    first = step(enhancer, scene, clock)
    assert (first.outcome, first.bypasses) == ("passed", ("late",))
    second = step(enhancer, scene, clock)
    assert second.bypasses == ("overload",)  # one request at most is at the engine
    assert len(engine.asked) == 1
    clock.now += 0.2
    engine.answer()
    third = step(enhancer, scene, clock)
    assert (third.outcome, third.bypasses) == ("carried", ("late",))
    assert len(third.patches) == 1


def test_waiting_resumes_when_the_engine_is_fast_again(scene, clock):
    engine = Engine(prompt=False)
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [FAR]
    patient(enhancer, 0.05)
    step(enhancer, scene, clock)
    clock.now += 0.3
    engine.answer()
    engine.prompt = True
    outcomes = [step(enhancer, scene, clock).outcome for _ in range(5)]
    assert outcomes[-1] == "enhanced"


@pytest.mark.parametrize(("error", "reason"), [(RuntimeError("boom"), "error"), (Overload("full"), "overload")])
def test_failing_engine_passes_the_frame(scene, clock, error, reason):
    engine = Engine()
    engine.error = error
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [FAR]
    result = step(enhancer, scene, clock)
    assert (result.outcome, result.bypasses) == ("passed", (reason,))
    engine.error = None
    assert step(enhancer, scene, clock).outcome == "enhanced"


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
    assert len(enhancer.bank.exemplars()) == 3  # one in thirty frames, as ever
    looks.clear()
    assert [seen_by(watched=False, followed=True), seen_by(watched=True, followed=False)] == [("close",)] * 2
    assert looks == [71, 72]  # as soon as somebody does, every frame


def test_a_failure_now_and_then_is_bridged_with_carried_detail(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [FAR]
    for _ in range(8):
        good = step(enhancer, scene, clock)
    engine.error = RuntimeError("boom")
    bridged = step(enhancer, scene, clock)
    assert (bridged.outcome, bridged.bypasses) == ("carried", ("error",))
    size = [float(np.abs(r.patches[0].difference).mean()) for r in (good, bridged)]
    assert size[1] > 0.6 * size[0]


def test_old_detail_is_not_carried_for_ever(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [FAR]
    for _ in range(8):
        step(enhancer, scene, clock)
    engine.error = RuntimeError("boom")
    outcomes = [step(enhancer, scene, clock).outcome for _ in range(16)]
    assert outcomes[0] == "carried"
    assert outcomes[-1] == "passed"


def test_nobody_is_drawn_with_anothers_details(scene, clock):
    """The first person's exemplars are gone with their track; a second face has a bank of its own."""
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [CLOSE]
    for _ in range(5):
        step(enhancer, scene, clock)
    taken = {e.id for e in enhancer.bank.exemplars()}
    assert taken
    scene.faces = []
    for _ in range(60):
        step(enhancer, scene, clock)
    scene.faces = [FAR]
    for _ in range(20):
        last = step(enhancer, scene, clock)
    assert last.outcome == "enhanced"
    assert engine.asked[-1][0].exemplars == ()
    assert taken <= engine.forgotten


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


def test_closing_forgets_the_faces(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [CLOSE]
    step(enhancer, scene, clock)
    ids = {e.id for e in enhancer.bank.exemplars()}
    enhancer.close()
    assert ids
    assert ids <= engine.forgotten


def test_forgetting_the_person_leaves_nothing(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [CLOSE]
    for _ in range(3):
        step(enhancer, scene, clock)
    ids = {e.id for e in enhancer.bank.exemplars()}
    assert ids
    enhancer.forget(None)
    assert enhancer.bank.exemplars() == []
    assert ids <= engine.forgotten
    step(enhancer, scene, clock)
    assert all(memory.detail is None for memory in enhancer._steady._memory.values())
    assert enhancer._request is None


def test_a_face_that_is_close_at_once_is_not_laboured_over(scene, clock):
    """From 320x180 to 1280x720 between two frames: the tracker goes on, the face is three times as large."""
    enhancer = enhancer_of(Engine(), scene, clock)
    scene.faces = [(0.4, 300 - 68, 120 - 50)]
    for _ in range(8):
        assert step(enhancer, scene, clock).patches
    clock.now += 0.05
    large = Picture.from_rgb(cv2.resize(scene.frame().rgb(), (1920, 1080), interpolation=cv2.INTER_CUBIC))
    result = enhancer.finish(enhancer.begin(large, clock.now))
    assert result.faces[0].side > 200
    assert result.patches == ()


def test_a_detector_that_fails_is_counted_as_an_error(scene, clock):
    class Failing(Scene):
        def detect(self, rgb, last=()):
            raise RuntimeError("on purpose")

    enhancer = Enhancer(Engine(), Failing(), ExemplarBank(clock=clock), EnhancerConfig(patience=0.1), clock=clock)
    reasons = set()
    for _ in range(20):
        reasons.update(step(enhancer, scene, clock).bypasses)
    assert "error" in reasons


class Timed(Engine):
    """An engine that takes its time on the clock: `speed` seconds for LR 32 without references."""

    def __init__(self, clock: Clock, speed: float) -> None:
        super().__init__()
        self.clock, self.speed = clock, speed

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future]:
        for request in requests:
            self.clock.now += self.speed * request.lr.shape[0] ** 2 / 32**2 * (1 + 0.7 * max(1, len(request.exemplars)))
        return super().submit(requests)


LARGE = (0.45, 240, 120)  # a headshot of 90 px


def test_a_slow_engine_gets_smaller_faces_and_the_whole_face_is_enhanced(scene, clock):
    engine = Timed(clock, 0.016)  # 245 ms at 96 px
    enhancer = enhancer_of(engine, scene, clock)
    enhancer.pace = Pace(0.12, 3)
    scene.faces = [LARGE]
    results = [step(enhancer, scene, clock) for _ in range(16)]
    sides = [request.lr.shape[0] for request, _ in engine.asked]
    assert sides[0] == 96
    assert set(sides[10:]) <= {32, 48, 64}
    assert max(abs(engine.asked[-1][0].landmarks).ravel()) < sides[-1]
    assert {p.side for r in results for p in r.patches} == {96}
    assert {p.difference.shape[0] for r in results for p in r.patches} == {4 * 96}
    assert enhancer.pace.decisions
    engine.speed = 0.0005
    for _ in range(40):
        last = step(enhancer, scene, clock, 0.1)
    assert engine.asked[-1][0].lr.shape[0] == 96
    assert last.outcome == "enhanced"


def test_at_half_rate_every_second_frame_is_carried_and_counted(scene, clock, monkeypatch):
    enhancer = enhancer_of(Engine(), scene, clock)
    turns = cycle((True, False))
    monkeypatch.setattr(enhancer.pace, "plan", lambda sides, now: Plan(next(turns), 1, tuple(sides)))
    scene.faces = [FAR]
    results = [step(enhancer, scene, clock) for _ in range(10)]
    assert [r.outcome for r in results] == ["enhanced", "carried"] * 5
    assert all(r.bypasses == (() if r.outcome == "enhanced" else ("overload",)) for r in results)


def test_an_engine_that_is_far_too_slow_is_left_alone_and_asked_again(scene, clock):
    engine = Timed(clock, 0.5)
    enhancer = enhancer_of(engine, scene, clock)
    enhancer.pace = Pace(0.12, 3)
    scene.faces = [FAR]
    for _ in range(10):
        step(enhancer, scene, clock)
    before, start = len(engine.asked), clock.now
    results = [step(enhancer, scene, clock, 0.1) for _ in range(20)]
    assert 1 <= len(engine.asked) - before <= clock.now - start + 1
    assert {r.demand for r in results} == {"pass"}
    assert enhancer.pace.rung.name == "pass"
    assert results[-1].bypasses in ((), ("overload",))
    engine.speed = 0.001
    for _ in range(100):
        last = step(enhancer, scene, clock, 0.1)
    assert last.outcome == "enhanced"
    assert enhancer.pace.rung.name == last.demand == "references_3"


def test_a_face_that_came_too_late_is_counted_late(scene, clock):
    engine = Engine()
    engine.error = Late("too late")
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [FAR]
    assert step(enhancer, scene, clock).bypasses == ("late",)
