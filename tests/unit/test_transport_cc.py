"""Transport-wide feedback: its format, and what a receiver tells."""

from __future__ import annotations

import random

import pytest

from server.media.receive.arrivals import FURTHEST, INTERVAL, MOST, Arrivals
from server.media.transport_cc import MOST_MESSAGES, MOST_PACKETS, PERIOD, TICK, Feedback, take_feedback

# Two packets, 10 ms apart, the one between them missing: written by hand from the draft's figures.
BY_HAND = bytes.fromhex(
    "8fcd0006" "00000001" "00000002"  # version 2, format 15; its sender, and the media's
    "fffe0003" "00001007"  # from number 65534 on, three packets; reference 16 (1.024 s), message 7
    "a800" "0428"  # a vector of one bit each: 101; 1 ms after the reference, 10 ms after that
    "00000000"
)  # fmt: skip

REPORT = bytes.fromhex("81c9000100000001")


def test_a_message_written_by_hand_is_read() -> None:
    read = Feedback.parse(BY_HAND)
    assert (read.ssrc, read.media_ssrc, read.base, read.count) == (1, 2, 65534, 7)
    first, missing, last = read.arrivals
    assert (first, missing, last) == (pytest.approx(1.025), None, pytest.approx(1.035))


@pytest.mark.parametrize("seed", range(30))
def test_what_is_written_is_read(seed: int) -> None:
    chance = random.Random(seed)
    time, arrivals = 100.0 * seed, []
    for _ in range(chance.choice([1, 2, 7, 14, 15, 300, MOST_PACKETS])):
        time += chance.choice([0.0, 0.0003, 0.02, 0.2, -0.004])
        arrivals.append(None if chance.random() < 0.05 * (seed % 4) else time)
    arrivals[0] = 100.0 * seed
    message = bytes(Feedback(5, 6, 65000, tuple(arrivals), 255))
    assert len(message) % 4 == 0
    (read,), rest = take_feedback(REPORT + message + REPORT)
    assert rest == REPORT + REPORT
    assert (read.base, read.count, len(read.arrivals)) == (65000, 255, len(arrivals))
    for wrote, got in zip(arrivals, read.arrivals, strict=True):
        assert (got is None) == (wrote is None)
        assert got is None or got == pytest.approx(wrote % (PERIOD * TICK), abs=TICK)


def test_what_cannot_be_told_or_read_is_refused() -> None:
    for arrivals in ((), (None,), (1.0, 20.0)):
        with pytest.raises(ValueError):
            bytes(Feedback(1, 2, 0, arrivals))
    for end in range(len(BY_HAND)):
        with pytest.raises(ValueError):
            Feedback.parse(BY_HAND[:end])
        assert not take_feedback(BY_HAND[:end])[0]
    chance = random.Random(1)
    for _ in range(5000):
        broken = bytearray(BY_HAND)
        for _ in range(3):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        take_feedback(bytes(broken))  # whatever it is, it raises nothing


def test_a_few_bytes_do_not_make_much_work() -> None:
    missing = b"\x1f\xff" * 8 + b"\x20\x01"  # 65528 that have not come, and one that has
    huge = bytes.fromhex("8fcd000a00000001000000020001fff900001007") + missing + b"\1\0\0\0\0\0"
    with pytest.raises(ValueError, match="more than"):
        Feedback.parse(huge)
    assert len(take_feedback(20 * BY_HAND)[0]) == MOST_MESSAGES


class Told:
    def __init__(self) -> None:
        self.messages: list[Feedback] = []
        self.arrivals = Arrivals(9, lambda message: self.messages.append(Feedback.parse(message)))

    def came(self, number: int, time: float) -> None:
        self.arrivals.add(number & 0xFFFF, time, 8)


def test_every_packet_is_told_of_once_a_missing_one_too() -> None:
    told = Told()
    for number in range(65500, 65600):
        if number != 65530:
            told.came(number, 10 + 0.01 * (number - 65500))
    numbers = [message.base + at & 0xFFFF for message in told.messages for at in range(len(message.arrivals))]
    assert numbers == [number & 0xFFFF for number in range(65500, 65500 + len(numbers))] and len(numbers) > 90
    assert [message.count for message in told.messages] == list(range(len(told.messages)))
    missing = [n for m in told.messages for n, one in enumerate(m.arrivals, m.base) if one is None]
    assert missing == [65530]
    assert len(told.messages) == pytest.approx(1 / INTERVAL, abs=4)


def test_one_that_was_overtaken_is_told_of_later() -> None:
    told = Told()
    for number in (1, 2, 4, 5):
        told.came(number, 1 + 0.03 * number)
    told.came(3, 1.3)
    assert told.messages[-1].base == 3 and told.messages[-1].arrivals[0] == pytest.approx(1.3, abs=TICK)


def test_a_flood_and_leaps_are_bounded() -> None:
    told = Told()
    for number in range(5000):
        told.came(number, 1.0)
    assert len(told.arrivals._came) == MOST
    for number in range(0, 60000, 700):
        told.came(number, 2 + number / 1000)
    assert max(len(message.arrivals) for message in told.messages) <= FURTHEST + 1
