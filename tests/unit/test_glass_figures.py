"""What the glass-to-glass benchmark makes of marks and counters."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.glass.figures import WRAP, Frame, Reading, Row, browsers, by_marks, by_timestamps, goals, means


def test_a_mark_tells_the_last_such_time_before_the_frame_came() -> None:
    made = 1_700_000_123_456.0
    for late in (0.0, 80.0, WRAP - 1.0):
        frame = Frame.of(round(made) % WRAP, made + late, made + late + 20, 320)
        assert (frame.made, frame.shown) == (made, made + late + 20)


def test_frames_without_a_mark_are_known_by_their_timestamps() -> None:
    start, offset = 1_700_000_123_456.0, 2**32 - 90 * 1500  # timestamps wrap after 1.5 s

    def reading(number: int, mark: bool) -> Reading:
        made = start + 50 * number
        rtp = (offset + 90 * 50 * number) % 2**32
        return Reading(round(made) % WRAP if mark else None, made + 30, made + 45, 1280, rtp)

    before = [reading(number, number % 3 > 0) for number in range(60)]
    before[7] = replace(before[7], mark=4711)  # misread
    frames = by_timestamps([reading(number, False) for number in range(60, 80)], before)
    assert [frame.shown - frame.made for frame in frames] == pytest.approx([45] * 20, abs=1)
    assert by_timestamps(before, [reading(1, False)]) == []
    assert len(by_marks(before)) == 40


def test_a_row_splits_the_way_and_shows_growth() -> None:
    frames = [Frame(50.0 * n, 50.0 * n + 30, 50.0 * n + 40 + n, 1280) for n in range(30)]
    gained = Counter(
        {
            "frame_latency_seconds_sum": 0.4,
            "frame_latency_seconds_count": 20,
            "stage_duration_seconds_sum encode": 0.1,
            "stage_duration_seconds_count encode": 20,
            "stage_duration_seconds_sum enhance": 0.0,
        }
    )
    row = Row.of(frames, 2, 1.5, gained, {})
    assert (row.relay, row.sender, row.receiver) == pytest.approx((20, 10, 24.5))
    assert row.p50 == 54.5 and row.thirds == (44.5, 54.5, 64.5) and row.judder == 1
    assert (row.shown_s, row.unread, row.width, row.stages) == (20, 2, 1280, {"encode": pytest.approx(5)})


def test_a_row_of_nothing_says_so() -> None:
    row = Row.of([], 0, 1.0, {}, {})
    assert row.p50 != row.p50 and row.shown_s == row.width == 0


def test_statistics_are_of_the_time_between() -> None:
    def at(count: int, seconds: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        own = {"type": "inbound-rtp", "kind": "video"}  # of one's own picture, on the page
        video = {"type": "outbound-rtp", "kind": "video", "totalEncodeTime": 0.002 * count, "framesEncoded": count}
        sent = [own, {"type": "outbound-rtp", "kind": "audio"}, video]
        seen = {
            "type": "inbound-rtp",
            "kind": "video",
            "timestamp": 1000 * seconds,
            "bytesReceived": 500 * count,
            "framesDecoded": count,
        }
        seen |= {"totalDecodeTime": 0.004 * count, "jitterBufferDelay": 0.03 * count, "jitterBufferEmittedCount": count}
        played = {"type": "inbound-rtp", "kind": "audio", "estimatedPlayoutTimestamp": 940.0}
        return sent, [seen | {"estimatedPlayoutTimestamp": 1000.0}, played]

    found = browsers(at(100, 1), at(200, 3))
    assert [found[key] for key in ("encode", "decode", "jitter_buffer", "av_ms")] == pytest.approx([2, 4, 30, -60])
    assert found["kbit_s"] == pytest.approx(200) and found["freezes"] == 0


def test_goals_are_judged_by_the_means_of_rounds() -> None:
    def row(age: float, composite: float) -> Row:
        frames = [Frame(50.0 * n, 50.0 * n + 1, 50.0 * n + age, 320) for n in range(9)]
        gained = {"stage_duration_seconds_sum composite": composite, "stage_duration_seconds_count composite": 1}
        return Row.of(frames, 1, 1.0, gained, {"freezes": age})

    rounds = {"180p aiortc": (80, 84), "180p original": (40, 44), "180p enhanced": (100, 106)}
    ways = {name: means([row(age, 0.004 + age / 1e5) for age in ages]) for name, ages in rounds.items()}
    assert ways["180p original"]["p50"] == 42 and ways["180p original"]["stats"] == {"freezes": 42}
    told = {goal["goal"]: (round(goal["value"]), goal["met"]) for goal in goals(ways)}
    assert list(told.values()) == [(-40, True), (0, True), (61, False), (61, True), (5, False)]
    assert goals({"180p direct": ways["180p aiortc"]}) == []
