"""What the enhancer does with an engine or a detector that is slow or fails."""

from collections.abc import Sequence
from concurrent.futures import Future
from itertools import cycle

import numpy as np
import pytest

from hime_core.engine import FaceRequest, Late, Overload
from hime_core.people.people import People
from hime_core.stream.demand import Demand, Plan
from hime_core.stream.enhancer import Enhancer, EnhancerConfig
from tests.unit.enhancer_stage import (
    FAR,
    Clock,
    Engine,
    Scene,
    enhancer_of,
    patient,
    step,
)


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


def test_a_detector_that_fails_is_counted_as_an_error(scene, clock):
    class Failing(Scene):
        def detect(self, rgb, last=()):
            raise RuntimeError("on purpose")

    enhancer = Enhancer(Engine(), Failing(), People(clock=clock), EnhancerConfig(patience=0.1), clock=clock)
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
    enhancer.demand = Demand(0.12, 3)
    scene.faces = [LARGE]
    results = [step(enhancer, scene, clock) for _ in range(16)]
    sides = [request.lr.shape[0] for request, _ in engine.asked]
    assert sides[0] == 96
    assert set(sides[10:]) <= {32, 48, 64}
    assert max(abs(engine.asked[-1][0].landmarks).ravel()) < sides[-1]
    assert {p.side for r in results for p in r.patches} == {96}
    assert {p.difference.shape[0] for r in results for p in r.patches} <= {4 * side for side in sides}
    assert enhancer.demand.decisions
    engine.speed = 0.0005
    for _ in range(40):
        last = step(enhancer, scene, clock, 0.1)
    assert engine.asked[-1][0].lr.shape[0] == 96
    assert last.outcome == "enhanced"


def test_at_half_rate_every_second_frame_is_carried_and_counted(scene, clock, monkeypatch):
    enhancer = enhancer_of(Engine(), scene, clock)
    turns = cycle((True, False))
    monkeypatch.setattr(enhancer.demand, "plan", lambda sides, now, most, every: Plan(next(turns), 1, tuple(sides)))
    scene.faces = [FAR]
    results = [step(enhancer, scene, clock) for _ in range(10)]
    assert [r.outcome for r in results] == ["enhanced", "carried"] * 5
    assert all(r.bypasses == (() if r.outcome == "enhanced" else ("overload",)) for r in results)


def test_an_engine_that_is_far_too_slow_is_left_alone_and_asked_again(scene, clock):
    engine = Timed(clock, 0.5)
    enhancer = enhancer_of(engine, scene, clock)
    enhancer.demand = Demand(0.12, 3)
    scene.faces = [FAR]
    for _ in range(10):
        step(enhancer, scene, clock)
    before, start = len(engine.asked), clock.now
    results = [step(enhancer, scene, clock, 0.1) for _ in range(20)]
    assert 1 <= len(engine.asked) - before <= clock.now - start + 1
    assert {r.demand for r in results} == {"pass"}
    assert enhancer.demand.level.name == "pass"
    assert results[-1].bypasses in ((), ("overload",))
    engine.speed = 0.001
    for _ in range(100):
        last = step(enhancer, scene, clock, 0.1)
    assert last.outcome == "enhanced"
    assert enhancer.demand.level.name == last.demand == "references_3"


def test_a_face_that_came_too_late_is_counted_late(scene, clock):
    engine = Engine()
    engine.error = Late("too late")
    enhancer = enhancer_of(engine, scene, clock)
    scene.faces = [FAR]
    assert step(enhancer, scene, clock).bypasses == ("late",)
