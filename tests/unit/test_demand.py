"""The levels of demands, with an engine that gets slower and faster, on a clock that is set by hand."""

import pytest

from hime_core.stream.demand import Demand, levels

FPS = 20


class Call:
    """A stream at 20 frames per second and an engine that takes `speed` seconds for LR 32 without references."""

    def __init__(self, speed: float, patience: float | None = 0.12, sides=(32,), fps: float = FPS) -> None:
        self.pace, self.speed, self.sides, self.fps = Demand(patience, 3), speed, sides, fps
        self.now, self.free = 100.0, 100.0
        self.pending: tuple[float, list[tuple[int, int]]] | None = None
        self.plans = []

    def run(self, seconds: float):
        """Returns the share of frames that the engine was asked with."""
        frames = round(seconds * self.fps)
        asked = 0
        for _ in range(frames):
            self.now += 1 / self.fps
            if self.pending and self.now >= self.free:
                start, faces = self.pending
                self.pace.learn(start, start, self.free, faces)
                self.pending = None
            plan = self.pace.plan(self.sides, self.now)
            self.plans.append(plan)
            if plan.ask and self.pending is None:
                asked += 1
                self.pace.asked(self.now)
                faces = [(side**2, plan.references) for side in plan.sides]
                work = sum(pixels * (1 + 0.7 * refs) for pixels, refs in faces)
                self.free, self.pending = self.now + self.speed * work / 32**2, (self.now, faces)
        return asked / frames


def test_the_order_of_degradation():
    names = [level.name for level in levels(3)]
    assert names == ["references_3", "references_2", "references_1", "half_rate", "smaller_1", "smaller_2",
                     "smaller_3", "smaller_4", "pass"]  # fmt: skip


def test_all_is_wanted_of_a_fast_engine():
    call = Call(0.005)
    assert call.run(3) == 1
    assert call.pace.level.name == "references_3"
    assert not call.pace.decisions


def test_files_are_not_hurried():
    call = Call(10.0, patience=None)
    call.run(3)
    assert call.plans[-1].ask and call.plans[-1].references == 3 and call.plans[-1].sides == (32,)


@pytest.mark.parametrize(
    ("speed", "side", "level"),
    [
        (0.014, 32, "references_3"),  # 43 ms with three: within the interval of 50
        (0.020, 32, "references_2"),
        (0.028, 32, "references_1"),
        (0.040, 32, "half_rate"),  # 68 ms with one: within the patience, over the interval
        (0.016, 96, "smaller_3"),  # 245 ms at 96 px, 61 at 48
        (0.060, 96, "smaller_4"),  # 102 ms at 32 px: late, but in time to be carried
        (0.500, 32, "pass"),
    ],
)
def test_each_speed_has_its_level_and_stays_on_it(speed, side, level):
    call = Call(speed, sides=(side,))
    call.run(8)
    before = call.pace.decisions.total()
    call.run(8)
    assert call.pace.level.name == level
    assert call.pace.decisions.total() == before  # no swinging to and fro


def test_half_rate_asks_with_every_second_frame():
    call = Call(0.040)
    call.run(4)
    assert call.run(4) == pytest.approx(0.5, abs=0.02)


def test_an_engine_that_slows_and_recovers_takes_the_call_down_and_up_the_levels():
    call = Call(0.010)
    call.run(2)
    seen = []
    for speed in (0.020, 0.028, 0.040, 0.5, 0.040, 0.020, 0.005):
        call.speed = speed
        call.run(20)
        seen.append(call.pace.level.name)
    assert seen[:4] == ["references_2", "references_1", "half_rate", "pass"]
    assert seen[4] == "half_rate"
    assert seen[-1] == "references_3"
    assert call.pace.decisions["pass"] == 1  # each decision is counted


def test_while_all_pass_the_engine_is_asked_once_a_second():
    call = Call(0.5)
    call.run(5)
    assert call.run(10) == pytest.approx(1 / FPS, abs=0.01)


def test_recovery_takes_seconds():
    call = Call(0.5)
    call.run(5)
    assert call.pace.level.name == "pass"
    call.speed = 0.005
    call.run(12)
    assert call.pace.level.name == "references_3"


def test_large_faces_shrink_and_small_ones_do_not():
    call = Call(0.012, sides=(96, 32))
    call.run(6)
    large, small = call.plans[-1].sides
    assert large < 96 and small == 32


def test_several_faces_share_the_time():
    alone, three = Call(0.014), Call(0.014, sides=(32, 32, 32))
    alone.run(5)
    three.run(5)
    assert alone.pace.level.name == "references_3"
    assert three.pace.level.references == 1


def test_refusals_lower_the_demand():
    pace = Demand(0.12, 3)
    for i in range(10):
        pace.plan((32,), 100 + i / FPS)
        pace.refused([(32**2, 3)])
    assert pace.level.name != "references_3"


def test_a_pause_in_the_stream_is_no_slow_stream():
    call = Call(0.028)
    call.run(3)
    call.now += 10
    call.run(0.5)
    assert call.pace.level.name == "references_1"
