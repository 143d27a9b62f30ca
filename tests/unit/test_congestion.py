"""What publishers are granted: a floor on wide paths, the estimate on narrow ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtp import RtpPacket

from server.media.receive.congestion import HOLD, STANDING, BurstEstimate, GrantedBitrate, StandingQueue
from server.media.receive.rtp import Packet

FLOOR = 300_000
INTERVAL = 0.02  # seconds between packets
WIDE = 0.005  # seconds that a packet takes on a wide path


def stamp(sent: float) -> int:
    return int(sent * (1 << 18)) & 0xFFFFFF


def grants(
    estimator: GrantedBitrate | RemoteBitrateEstimator,
    seconds: float,
    arrival: Callable[[float], float],
    size: Callable[[], int],
    start: float = 0.0,
) -> Iterator[tuple[float, int]]:
    """What is granted when, of packets that are sent in time and arrive at `arrival` of that."""
    for number in range(round(seconds / INTERVAL)):
        sent = start + number * INTERVAL
        at = arrival(sent)
        estimate = estimator.add(
            arrival_time_ms=round(1000 * at), abs_send_time=stamp(sent), payload_size=size(), ssrc=1
        )
        if estimate:
            yield at, estimate[0]


class Link:
    """Carries so many bit/s, and holds what does not fit."""

    def __init__(self, rate: float, size: int) -> None:
        self.rate, self.size, self.free_at = rate, size, 0.0

    def __call__(self, sent: float) -> float:
        self.free_at = max(self.free_at, sent) + 8 * self.size / self.rate
        return self.free_at + WIDE


def busy(sent: float) -> float:
    """The processor does other things for the last 0.2 of every 0.3 seconds."""
    at = sent + WIDE
    return at if at % 0.3 < 0.1 else (at // 0.3 + 1) * 0.3


def test_a_busy_processor_takes_no_bitrate_below_the_floor():
    ours = GrantedBitrate(RemoteBitrateEstimator(), FLOOR, lambda: 0.0)
    plain = [rate for _, rate in grants(RemoteBitrateEstimator(), 30, busy, lambda: 500)]
    assert min(plain) < FLOOR  # what aiortc makes of it
    granted = [rate for _, rate in grants(ours, 30, busy, lambda: 500)]
    assert granted and min(granted) >= FLOOR


def test_a_narrow_path_is_not_filled_and_a_wide_one_has_its_floor_again():
    ours = GrantedBitrate(RemoteBitrateEstimator(), FLOOR, lambda: 0.0)
    size = 1000  # 400 kbit/s
    assert all(rate >= FLOOR for _, rate in grants(ours, 10, lambda sent: sent + WIDE, lambda: size))
    narrow = Link(250_000, size)
    found = list(grants(ours, 10, narrow, lambda: size, start=10))
    assert min(rate for _, rate in found) < 250_000
    assert min(at for at, rate in found if rate < FLOOR) < 13
    later = list(grants(ours, 30, lambda sent: sent + WIDE, lambda: size, start=narrow.free_at + 1))
    assert all(rate >= FLOOR for at, rate in later if at > narrow.free_at + 1 + HOLD + 1)


@pytest.mark.parametrize("loss", [0.02, 0.3])
def test_the_estimate_holds_where_packets_get_lost(loss: float):
    inner = RemoteBitrateEstimator()
    inner.add = lambda **packet: (200_000, [1])
    ours = GrantedBitrate(inner, FLOOR, lambda: loss)
    granted = ours.add(arrival_time_ms=1000, abs_send_time=0, payload_size=1, ssrc=1)
    assert granted == ((200_000 if loss > 0.1 else FLOOR), [1])


def test_a_queue_is_what_every_packet_waits_for():
    queue, now = StandingQueue(), 0.0

    def send(seconds: float, waits: Callable[[int], float]) -> float:
        nonlocal now
        most = 0.0
        for number in range(round(seconds / INTERVAL)):
            now += INTERVAL
            queue.add(stamp(now), 1e6 + now + waits(number))
            most = max(most, queue.seconds)
        return most

    assert send(150, lambda n: WIDE + 0.04 * (n % 5)) < STANDING / 10  # past where the clock of 24 bits begins anew
    assert send(5, lambda n: 0.2 if n % 10 else WIDE) < STANDING / 10  # one passes by
    assert send(5, lambda n: WIDE + 0.1) == pytest.approx(0.1, abs=0.01)
    assert send(5, lambda n: WIDE) > 0 and queue.seconds < STANDING / 10


@pytest.mark.parametrize("delay", [0.0, 0.004])
def test_bursts_are_estimated_as_their_packets_are_by_aiortc(delay: float) -> None:
    """delay: seconds that each frame comes later than the one before, between the 5th and the 10th second."""
    ours, theirs = BurstEstimate(RemoteBitrateEstimator()), RemoteBitrateEstimator()
    granted: list[int] = []
    expected: list[int] = []
    late, rng = 0.0, random.Random(5)
    for frame in range(25 * 30):
        late += delay if 125 <= frame < 250 else 0.0
        count = rng.randrange(2, 9)
        for index in range(count):
            sent = frame / 25 + 0.0003 * index
            now = sent + 0.02 + late + rng.random() * 0.0005
            taken = Packet(RtpPacket(97, int(index == count - 1), 0, 0, 7, bytes(1200)).serialize(), now, None)
            taken.abs_send_time = stamp(sent)
            if answer := ours.add(taken):
                granted.append(answer[0])
            if answer := theirs.add(round(1000 * now), stamp(sent), 1200, 7):
                expected.append(answer[0])
    assert len(granted) <= len(expected)  # aiortc says the same thing again with every packet of a congested path
    assert granted[-1] == pytest.approx(expected[-1], rel=0.15)
    assert min(granted) == pytest.approx(min(expected), rel=0.15)


def test_packets_that_do_not_tell_when_they_were_sent_are_estimated_by_nobody() -> None:
    class Nobody:
        def add(self, **packet: int) -> None:
            pytest.fail("nothing is known of it")

    assert BurstEstimate(Nobody()).add(Packet(RtpPacket(97, 1, 0, 0, 7, b"x").serialize(), 0.0, None)) is None
