"""What one stream does without on each rung of the ladder."""

from __future__ import annotations

import pytest

from benchmarks.shared.peers import FakeEnhancer
from hime_core.stream.demand import Demand
from hime_core.stream.enhancer import GLANCE_EVERY
from hime_core.stream.ladder import LADDER, Rung
from server.load.stream import StreamLoad
from server.media.pipeline import VideoPipeline
from server.observability.metrics import Metrics
from tests.unit.enhancer_stage import BOB, CLOSE, FAR, Engine, enhancer_of, step

BY_NAME = {rung.name: rung for rung in LADDER}


def on(enhancer, scene, clock, rung: Rung, seconds: float = 0.05, **who: bool):
    clock.now += seconds
    return enhancer.finish(enhancer.begin(scene.frame(), clock.now, rung=rung, **who))


def known(enhancer, scene, clock) -> None:
    """Somebody has been close for long enough to be known by three exemplars, and is far away now."""
    scene.faces = [CLOSE]
    for _ in range(100):
        step(enhancer, scene, clock)
    scene.faces = [FAR]
    for _ in range(10):
        step(enhancer, scene, clock)
    enhancer.demand = Demand(0.12, 3)


@pytest.mark.parametrize(
    ("name", "references", "asked"),
    [("whole", 3, 12), ("references_1", 1, 12), ("half_rate", 1, 6), ("quarter_rate", 1, 3)],
)
def test_fewer_references_and_fewer_frames(scene, clock, name, references, asked):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    known(enhancer, scene, clock)
    engine.asked.clear()
    results = [on(enhancer, scene, clock, BY_NAME[name]) for _ in range(12)]
    assert len(engine.asked) == asked
    assert {len(request.exemplars) for request, _ in engine.asked} == {references}
    assert {result.outcome for result in results} <= {"enhanced", "carried"}


def test_passed_frames_ask_for_nothing_are_glanced_at_and_counted(scene, clock):
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    known(enhancer, scene, clock)
    engine.asked.clear()
    looks, update = [], enhancer._watch.update
    enhancer._watch.update = lambda rgb, gray: looks.append(enhancer._frame) or update(rgb, gray)
    results = [on(enhancer, scene, clock, BY_NAME["passed"]) for _ in range(4 * GLANCE_EVERY)]
    assert engine.asked == [] and len(looks) == 4
    assert {result.bypasses for result in results} == {("shed",)}
    assert {result.demand for result in results} == {None}
    assert results[-1].outcome == "passed"
    assert enhancer.seen[0].reason == "shed"  # which the page tells
    back = [on(enhancer, scene, clock, BY_NAME["whole"]) for _ in range(3)]
    assert back[-1].outcome == "enhanced"


def test_who_is_in_view_after_a_rest_is_found_anew(scene, clock):
    """Somebody else may have taken the place of who was there, and is not to get their details."""
    engine = Engine()
    enhancer = enhancer_of(engine, scene, clock)
    known(enhancer, scene, clock)
    (before,) = enhancer.seen
    for _ in range(100):
        clock.now += 0.05
        enhancer.rest()
    assert [(face.person, face.reason) for face in enhancer.seen] == [(before.person, "shed")]  # which the page tells
    engine.asked.clear()
    scene.faces = [(*FAR, BOB)]
    step(enhancer, scene, clock)
    assert [face.person for face in enhancer.seen] != [before.person]
    assert {len(request.exemplars) for request, _ in engine.asked} == {0}
    scene.faces = [FAR]
    for _ in range(100):
        clock.now += 0.05
        enhancer.rest()
    for _ in range(10):
        step(enhancer, scene, clock)
    assert [face.person for face in enhancer.seen] == [before.person]


def test_whom_nobody_watches_is_not_taken_for_shed(scene, clock):
    enhancer = enhancer_of(Engine(), scene, clock)
    scene.faces = [FAR]
    assert on(enhancer, scene, clock, BY_NAME["passed"], watched=False).bypasses == ("unwatched",)


def test_the_engines_own_slowness_counts_beside_the_rung():
    """The lower of the two levels is what is asked for."""
    slow = Demand(0.12, 3)
    for number in range(40):
        now = 100 + number / 20
        slow.plan((32,), now)
        slow.learn(now, now, now + 10, [(32**2, 1)])
    slow.asked(102.9)
    assert slow.plan((32,), 103, "references_1").ask is False
    assert slow.level.name == "pass"
    fast = Demand(0.12, 3)
    assert [fast.plan((32,), 100, name).references for name in ("", "references_1", "half_rate", "")] == [3, 1, 1, 3]


class Track:
    """Views as they are watched, without encoders."""

    def __init__(self, untouched: bool = False) -> None:
        self.pipeline = VideoPipeline(FakeEnhancer(), Metrics(), untouched=untouched, load=StreamLoad())  # type: ignore[arg-type]
        self.pipeline.views.frame_size = 640, 360

    def useful(self, *watched: tuple[str, str, int | None]) -> list[str]:
        self.pipeline.views.watched = dict.fromkeys(watched)  # type: ignore[arg-type]
        return [rung.name for rung in LADDER[1:] if self.pipeline.load.useful(rung)]


@pytest.mark.parametrize(
    ("watched", "untouched", "useful"),
    [
        ([("enhanced", "upscale", 1280)], False, ["references_1", "half_rate", "quarter_rate", "passed", "plain"]),
        ([("original", "native", None)], False, ["plain"]),  # where nobody looks for faces
        ([("original", "zoom", None)], False, ["passed", "plain"]),
        ([], False, ["plain"]),
        ([("original", "native", None)], True, []),
        ([("original", "upscale", 1280)], True, ["plain"]),
        ([("original", "upscale", 640)], True, []),  # which is not enlarged
    ],
)
def test_a_step_is_of_use_where_it_saves_something(watched, untouched, useful):
    assert Track(untouched).useful(*watched) == useful


def test_only_frames_that_somebody_watches_are_felt_when_they_are_lost():
    track, lost = Track(), []
    track.pipeline.load.felt.lost = lost.append  # type: ignore[method-assign]
    track.useful()
    track.pipeline.lost(65)
    assert lost == []
    track.useful(("enhanced", "upscale", 1280))
    track.pipeline.lost(65)
    assert lost == [65]


def test_what_is_left_of_the_pixels_where_nothing_is_enlarged():
    track = Track()
    track.useful(("enhanced", "upscale", 1280))
    assert track.pipeline.load.shrinks() == pytest.approx(0.25)
    track.useful(("enhanced", "upscale", 1280), ("original", "native", None))
    assert track.pipeline.load.shrinks() == pytest.approx(0.4)
    track.useful()
    assert track.pipeline.load.shrinks() == 1
