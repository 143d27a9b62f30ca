"""When packets leave, and how long they are kept."""

from __future__ import annotations

import pytest

from server.media.send import history
from server.media.send.history import SentHistory
from server.media.send.pacing import MAX_DELAY, PACE, TICK, Pacer
from tests.unit.simulated_path import Clock

RATE = 1_000_000  # bit/s
FRAME = RATE // 25 // 8  # bytes


class Paced:
    def __init__(self, rate: float = RATE) -> None:
        self.clock, self.rate = Clock(), rate
        self.left: list[tuple[float, int, int, bool]] = []  # when, bytes, timestamp, whether the frame's last
        self.pacer = Pacer(self._leave, lambda: self.rate, self.clock, self.clock.later)

    def _leave(self, payloads: list[bytes], timestamp: int, end: bool) -> None:
        self.left.append((self.clock.now, sum(map(len, payloads)), timestamp, end))

    def put(self, size: int, timestamp: int = 0) -> None:
        self.pacer.put([bytes(min(1000, size - at)) for at in range(0, size, 1000)], timestamp)


def test_usual_frames_leave_at_once_and_whole() -> None:
    paced = Paced()
    for number in range(50):
        paced.put(FRAME, number)
        assert paced.left[-1] == (paced.clock.now, FRAME, number, True)
        assert paced.pacer.waiting == 0
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
    assert sum(size for _, size, _, _ in paced.left) == 7 * FRAME
    assert [timestamp for _, _, timestamp, end in paced.left if end] == [1, 2]
    assert max(size for _, size, _, _ in paced.left) < 2 * FRAME
    took = paced.left[-1][0] - paced.left[0][0]
    assert took == pytest.approx((7 - 1.5) * 0.04 / PACE, abs=3 * TICK)


def test_nothing_waits_for_long_however_much_it_is() -> None:
    paced = Paced(rate=100_000)
    paced.put(100_000)
    begun = paced.clock.now
    paced.clock.run(5)
    assert sum(size for _, size, _, _ in paced.left) == 100_000
    assert paced.left[-1][0] - begun <= MAX_DELAY + 2 * TICK


def test_what_is_sent_again_counts() -> None:
    paced = Paced()
    paced.put(FRAME)
    paced.clock.run(0.04)
    paced.pacer.spend(4 * FRAME)
    paced.put(FRAME, 1)
    assert paced.left[-1][2] == 0
    paced.clock.run(0.2)
    assert paced.left[-1][2:] == (1, True)


def test_nothing_leaves_after_the_end() -> None:
    paced = Paced()
    paced.put(20 * FRAME)
    left = len(paced.left)
    paced.pacer.close()
    paced.clock.run(1)
    assert len(paced.left) == left


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
    assert kept.get(7).payload == b"same" and kept._bytes <= 5000
