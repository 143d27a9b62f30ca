import re
import threading
from pathlib import Path

import pytest

from hime_core.exemplars.decisions import DECISIONS
from server.observability.history import SECONDS
from server.observability.metrics import BYPASSES, LEVELS, OUTCOMES, RECOGNITIONS, STAGES, Metrics
from server.observability.window import MAX_SAMPLES


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metrics(clock):
    return Metrics(clock=clock, wall=lambda: 1_700_000_000.0)


def test_names_and_labels_are_the_designs(metrics):
    metrics.keyframe("join")
    text = metrics.exposition().decode()
    for stage in STAGES:
        assert f'hime_stage_duration_seconds_bucket{{le="0.001",stage="{stage}"}} 0.0' in text
    for outcome in OUTCOMES:
        assert f'hime_frames_total{{outcome="{outcome}"}} 0.0' in text
    for reason in BYPASSES:
        assert f'hime_bypass_total{{reason="{reason}"}} 0.0' in text
    for outcome in ("recognised", "corrected", "error"):
        assert f'hime_recognition_total{{outcome="{outcome}"}} 0.0' in text
    for decision in DECISIONS:
        assert f'hime_bank_decisions_total{{decision="{decision}"}} 0.0' in text
    for level in LEVELS:
        assert f'hime_demand_frames_total{{level="{level}"}} 0.0' in text
    for line in (
        'hime_frame_latency_seconds_bucket{le="1.0"} 0.0',
        "hime_batch_size_count 0.0",
        "hime_reference_gap_seconds_count 0.0",
        'hime_quantizer_step_bucket{le="16.0"} 0.0',
        "hime_bank_exemplars 0.0",
        'hime_streams{direction="in"} 0.0',
        'hime_streams{direction="out"} 0.0',
        'hime_keyframes_total{reason="join"} 1.0',
    ):
        assert line in text
    assert "_created" not in text


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("outcomes", OUTCOMES),
        ("demand", LEVELS),
        ("bypass", BYPASSES),
        ("recognition", RECOGNITIONS),
        ("bank", DECISIONS),
    ],
)
def test_the_dashboard_counts(group, names):
    source = (Path(__file__).parents[2] / "client_web/src/dashboard/stats.ts").read_text()
    counted = source.split("COUNTED = {")[1].split(f"  {group}: [")[1].split("]")[0]
    assert sorted(re.findall(r'"(\w+)"', counted)) == sorted(names)


def test_the_dashboard_shows_every_stage():
    source = Path(__file__).parents[2] / "client_web/src/dashboard/stats.ts"
    lines = source.read_text().split("STAGES = [")[1].split("]")[0].strip().splitlines()
    assert tuple(line.strip(' ",') for line in lines) == STAGES


def test_unknown_labels_are_refused(metrics):
    for call in (
        metrics.stage,
        lambda name, _: metrics.frame(name),
        lambda name, _: metrics.bypass(name),
        lambda name, _: metrics.demand(name),
        lambda name, _: metrics.recognition(name),
        lambda name, _: metrics.bank_decision(name),
    ):
        with pytest.raises(KeyError):
            call("alice", 0.1)


def test_every_instance_counts_alone(metrics):
    other = Metrics()
    metrics.frame("enhanced")
    assert 'hime_frames_total{outcome="enhanced"} 1.0' in metrics.exposition().decode()
    assert 'hime_frames_total{outcome="enhanced"} 0.0' in other.exposition().decode()


def test_durations_are_in_their_histograms_for_whoever_collects(metrics):
    for _ in range(1000):
        metrics.stage("decode", 0.004)
    samples = {s.name: s.value for family in metrics.registry.collect() for s in family.samples if "decode" in str(s)}
    assert samples["hime_stage_duration_seconds_count"] == 1000
    assert samples["hime_stage_duration_seconds_sum"] == pytest.approx(4.0)


def test_a_sample_belongs_to_the_second_that_it_came_in(metrics, clock):
    for _ in range(3):
        metrics.stage("decode", 0.001)
        metrics.fps_in()
        clock.now += 1
    assert [point["stages"]["decode"]["count"] for point in metrics.history.points()] == [1, 1, 1]
    assert [point["fps_in"] for point in metrics.history.points()] == [1.0, 1.0, 1.0]


def test_a_point_of_one_second(metrics, clock):
    for ms in range(1, 101):
        metrics.stage("decode", ms / 1000)
        metrics.fps_in()
    metrics.frame_latency(0.04)
    metrics.frame("enhanced")
    metrics.bypass("late")
    metrics.demand("half_rate")
    metrics.recognition("corrected")
    metrics.bank_decision("blurred")
    metrics.batch(1)
    metrics.batch(2)
    metrics.reference_gap(4.0)
    metrics.quantizer(20.0)
    metrics.quantizer(30.0)
    metrics.set_bank(5)
    metrics.set_streams("out", 2)
    assert metrics.history.points() == []  # the second is not over
    clock.now += 1
    (point,) = metrics.history.points()
    assert point["t"] == 1_700_000_000.0
    assert point["stages"] == {"decode": {"p50": 50.5, "p95": 95.05, "p99": 99.01, "count": 100}}
    assert point["frame_latency"] == {"p50": 40.0, "p95": 40.0, "p99": 40.0, "count": 1}
    assert (point["fps_in"], point["fps_out"]) == (100.0, 0.0)
    assert point["outcomes"] == {"enhanced": 1, "carried": 0, "passed": 0, "dropped": 0}
    assert point["bypass"] == dict.fromkeys(BYPASSES, 0) | {"late": 1}
    assert point["demand"] == dict.fromkeys(LEVELS, 0) | {"half_rate": 1}
    assert point["recognition"] == {"recognised": 0, "corrected": 1, "error": 0}
    assert point["bank"] == dict.fromkeys(DECISIONS, 0) | {"blurred": 1}
    assert (point["batch_size"], point["reference_gap_s"], point["bank_exemplars"]) == (1.5, 4.0, 5)
    assert point["quantizer_step"] == 25.0
    assert point["streams"] == {"in": 0, "out": 2}


def test_seconds_without_events_are_points_too_and_gauges_stay(metrics, clock):
    metrics.frame("passed")
    metrics.set_bank(3)
    clock.now += 4
    points = metrics.history.points()
    assert [point["t"] - points[0]["t"] for point in points] == [0, 1, 2, 3]
    assert [point["outcomes"]["passed"] for point in points] == [1, 0, 0, 0]
    assert [point["bank_exemplars"] for point in points] == [3, 3, 3, 3]
    assert points[-1]["batch_size"] is None and points[-1]["frame_latency"]["p50"] is None
    assert points[-1]["quantizer_step"] is None
    assert metrics.history.points(after=points[1]["t"]) == points[2:]


def test_memory_is_bounded(metrics, clock):
    for _ in range(MAX_SAMPLES + 7):
        metrics.stage("encode", 0.001)
    clock.now += 1
    point = metrics.history.points()[-1]
    assert point["stages"]["encode"]["count"] == MAX_SAMPLES + 7  # the true count, though not all are kept
    clock.now += 10 * SECONDS
    points = metrics.history.points()
    assert len(points) == SECONDS
    assert points[-1]["t"] == int(1_700_000_000.0 + clock.now - 100.0) - 1


def test_many_threads_lose_nothing(metrics, clock):
    def work():
        for _ in range(500):
            metrics.frame("carried")
            metrics.stage("queue", 0.002)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now += 1
    point = metrics.history.points()[-1]
    assert point["outcomes"]["carried"] == 4000
    assert point["stages"]["queue"]["count"] == 4000
