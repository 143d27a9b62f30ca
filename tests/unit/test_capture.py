from __future__ import annotations

import pytest

from server.media.receive.capture import CaptureClock

SECOND = 1 << 32


def clock() -> CaptureClock:
    clock = CaptureClock(90000)
    clock.counted(1, 1_000_000, 0)
    clock.reported(1, 50 * SECOND, 1_090_000)
    return clock


@pytest.mark.parametrize(("timestamp", "ntp"), [(0, 49), (90_000, 50), (180_000, 51)])
def test_timestamps_are_counted_from_the_report(timestamp: int, ntp: int) -> None:
    assert clock().ntp(timestamp) == ntp * SECOND


def test_nothing_is_known_before_a_report_of_the_stream_itself() -> None:
    clock = CaptureClock(90000)
    assert clock.ntp(0) is None
    clock.reported(1, SECOND, 0)  # of what has sent nothing yet
    clock.counted(1, 0, 0)
    assert clock.ntp(0) is None
    clock.reported(2, SECOND, 0)
    clock.reported(1, 0, 0)
    assert clock.ntp(0) is None
    clock.reported(1, SECOND, 0)
    assert clock.ntp(0) == SECOND


def test_a_sender_that_starts_anew_reports_anew() -> None:
    begun = clock()
    begun.counted(2, 5, 90_000)
    assert begun.ntp(90_000) is None
    begun.reported(2, 60 * SECOND, 5)
    assert begun.ntp(90_000) == 60 * SECOND


def test_rtp_and_ntp_times_wrap() -> None:
    clock = CaptureClock(90000)
    clock.counted(1, (1 << 32) - 90_000, 0)
    clock.reported(1, (1 << 64) - SECOND, (1 << 32) - 90_000)
    clock.counted(1, 0, 90_000)
    assert clock.ntp(90_000) == 0
    assert clock.ntp(180_000) == SECOND
