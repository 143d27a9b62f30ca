from __future__ import annotations

from server.media.receive.freezes import Freezes


def frozen(*intervals: float) -> list[int]:
    freezes, time = Freezes(), 0.0
    freezes.add(time)
    found = []
    for number, interval in enumerate(intervals):
        time += interval
        if freezes.add(time):
            found.append(number)
    assert freezes.count == len(found)
    assert abs(freezes.seconds - sum(intervals[number] for number in found)) < 1e-9
    return found


def test_a_freeze_is_an_interval_far_above_the_average() -> None:
    assert frozen(*[0.05] * 30, 0.199, *[0.05] * 30) == []
    assert frozen(*[0.05] * 30, 0.201, *[0.05] * 30) == [30]
    assert frozen(*[0.2] * 30, 0.55) == []
    assert frozen(*[0.2] * 30, 0.61) == [30]


def test_the_average_is_that_of_the_last_thirty() -> None:
    assert frozen(*[0.5] * 30, *[0.04] * 30, 0.2) == [60]


def test_a_pause_is_no_freeze() -> None:
    assert frozen(*[0.05] * 30, 6, *[0.05] * 5) == []
