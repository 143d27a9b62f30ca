"""When packets leave, and how long they are kept."""

from __future__ import annotations

from collections import deque

import pytest

from server.media.send import history
from server.media.send.history import SentHistory
from server.media.send.pacing import LEAST_RATE, MAX_DELAY, PACE, TICK, Pacer
from tests.unit.simulated_path import Clock

RATE = 1_000_000  # bit/s
FRAME = RATE // 25 // 8  # bytes


class Paced:
    def __init__(self, rate: float = RATE) -> None:
        self.clock = Clock()
        self.left: list[tuple[float, int, object]] = []  # when, bytes, and of which
        self.left_out = 0  # packets
        self.pacer = Pacer(lambda: rate, self.clock, self.clock.later)

    def put(self, size: int, name: object = 0, repair: bool = False) -> None:
        """In packets of 1000 bytes."""
        sizes = [min(1000, size - at) for at in range(0, size, 1000)]
        waiting = deque(sizes)

        def leave(count: int) -> None:
            self.left.append((self.clock.now, sum(waiting.popleft() for _ in range(count)), name))

        if repair:
            self.pacer.repair(sizes, leave, self._left_out)
        else:
            self.pacer.put(sizes, leave)

    def _left_out(self, count: int) -> None:
        self.left_out += count

    @property
    def bytes(self) -> int:
        return sum(size for _, size, _ in self.left)


def test_usual_frames_leave_at_once_and_whole() -> None:
    paced = Paced()
    for number in range(50):
        paced.put(FRAME, number)
        assert paced.left[-1] == (paced.clock.now, FRAME, number) and paced.pacer.idle
        paced.clock.run(0.04)


def test_a_keyframe_is_spread_and_those_behind_it_keep_their_order() -> None:
    paced = Paced()
    paced.put(FRAME)
    paced.clock.run(0.04)
    paced.left.clear()
    paced.put(6 * FRAME, 1)
    paced.clock.run(0.04)
    paced.put(FRAME, 2)
    paced.clock.run(1)
    assert paced.bytes == 7 * FRAME
    assert [name for _, _, name in paced.left] == sorted(name for _, _, name in paced.left)
    assert max(size for _, size, _ in paced.left) < 2 * FRAME
    took = paced.left[-1][0] - paced.left[0][0]
    assert took == pytest.approx((7 - 1.5) * 0.04 / PACE, abs=3 * TICK)


@pytest.mark.parametrize("repairs", [0, 100_000, 256_000])  # bytes, which were asked for before
def test_no_frame_waits_for_long_however_large_it_is(repairs: int) -> None:
    paced = Paced(rate=100_000)
    if repairs:
        paced.put(repairs, "repair", repair=True)
    before = paced.bytes
    paced.put(100_000, "frame")
    begun = paced.clock.now
    paced.clock.run(5)
    frames = [(at, size) for at, size, name in paced.left if name == "frame"]
    assert sum(size for _, size in frames) == 100_000
    assert frames[-1][0] - begun <= MAX_DELAY + 2 * TICK
    during = sum(size for at, size, _ in paced.left if at <= frames[-1][0]) - 100_000 - before
    assert during <= 100_000 / 8 * MAX_DELAY  # repairs are in no haste nevertheless


@pytest.mark.parametrize("asked", [100, 256])  # packets
def test_repairs_leave_beside_frames_and_are_left_out_when_they_come_too_late(asked: int) -> None:
    rate = 300_000
    paced = Paced(rate)
    paced.put(1000 * asked, "repair", repair=True)
    begun, put = paced.clock.now, []
    for number in range(50):
        put.append(paced.clock.now)
        paced.put(rate // 25 // 8, number)
        paced.clock.run(0.04)
    left = {name: at for at, _, name in paced.left}  # when the last of each did
    assert all(left[number] - at <= MAX_DELAY for number, at in enumerate(put))
    repairs = sum(size for _, size, name in paced.left if name == "repair")
    assert repairs >= 0.5 * rate / 8 * MAX_DELAY
    assert left["repair"] - begun <= MAX_DELAY + 0.04  # the next frame leaves out the rest
    assert paced.left_out == asked - repairs / 1000


def test_what_was_lost_goes_first_and_no_faster_than_the_path() -> None:
    paced = Paced()
    paced.put(6 * FRAME, "frame")
    paced.put(FRAME, "repair", repair=True)
    paced.clock.run(0.3)
    assert [name for _, _, name in paced.left].index("repair") < len(paced.left) - 1
    paced.clock.run(1)
    paced.left.clear()
    begun = paced.clock.now
    paced.put(RATE // 8, "repair", repair=True)  # a second of the path
    paced.clock.run(2)
    assert paced.bytes == RATE // 8
    assert paced.left[-1][0] - begun == pytest.approx(1, abs=0.1)


def test_a_path_that_is_told_to_carry_nothing_gets_a_little() -> None:
    paced = Paced(rate=0)
    paced.put(4000, "frame")
    paced.put(2000, "repair", repair=True)
    paced.clock.run(8 * 6000 / LEAST_RATE)
    assert paced.bytes == 6000 and paced.pacer.idle


def test_a_frame_does_not_wait_for_the_pace_of_repairs() -> None:
    paced = Paced(rate=LEAST_RATE)
    paced.put(4000, "repair", repair=True)
    paced.put(100, "repair", repair=True)  # which waits for half a second
    paced.put(500, "frame")
    begun = paced.clock.now
    paced.clock.run(5)
    (left,) = (at for at, _, name in paced.left if name == "frame")
    assert left - begun <= MAX_DELAY + 2 * TICK


def test_nothing_leaves_after_the_end() -> None:
    paced = Paced()
    paced.put(20 * FRAME)
    left = len(paced.left)
    paced.pacer.close()
    paced.clock.run(1)
    assert len(paced.left) == left and paced.pacer.idle


def test_packets_are_kept_for_seconds_and_not_beyond_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    kept = SentHistory(clock)
    for number in range(1000):
        kept.add(number, 90 * number, number % 2, b"%d" % number)
        clock.run(0.01)
    assert kept.get(999).payload == b"999" and kept.get(1000) is None
    first = next(number for number in range(1000) if kept.get(number))
    assert first == pytest.approx(1000 - history.SECONDS / 0.01, abs=2)
    monkeypatch.setattr(history, "MOST_BYTES", 5000)
    for number in range(65530, 65530 + 100):  # past the numbers' end
        kept.add(number & 0xFFFF, 0, 0, bytes(1000))
    assert sum(kept.get(number & 0xFFFF) is not None for number in range(65500, 65700)) == 5
    for _ in range(10):
        kept.add(7, 0, 0, b"same")
    assert kept.ask(7).payload == b"same" and kept.ask(7) is None  # it is on its way
    clock.run(history.REPEAT_AFTER)
    assert kept.ask(7)
    assert kept.get(7).payload == b"same" and kept._bytes <= 5000
