"""The jitter buffer, against aiortc's own where it mends that one; where that comparison fails, aiortc has changed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket

from server.media.receive.jitter import CAPACITY, AudioForwarding, VideoJitterBuffer
from server.media.receive.repair import PATIENCE, RoundTrip

DELTA, NOT_NEEDED = 0, 1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Events:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def packets(self, outcome: str, count: int) -> None:
        self.counts[outcome] += count

    def skipped(self, frames: int) -> None:
        self.counts["skipped"] += frames


class Buffer:
    """The buffer under test; takes packets and gives the numbers of the frames that left."""

    def __init__(self) -> None:
        self.clock, self.events, self.round_trip = Clock(), Events(), RoundTrip()
        for _ in range(20):
            self.round_trip.add(0.05)
        self.jitter = VideoJitterBuffer(lambda kind: "VP8", self.events, self.round_trip, self.clock)

    def add(self, *packets: RtpPacket) -> list[int]:
        return [frame.timestamp // 3000 for packet in packets for frame in self.jitter.add(packet)]


def packet(number: int, frame: int | None = None, *, key=False, first=True, last=True, unneeded=False) -> RtpPacket:
    """A packet of a VP8 frame; each is a frame of its own unless told."""
    timestamp = 3000 * (number if frame is None else frame)
    made = RtpPacket(97, int(last), number & 0xFFFF, timestamp & 0xFFFFFFFF, 7)
    made.data = made._data = b"\x00" if key and first else b"\x01"  # ours, and aiortc's
    made.payload = bytes([0x10 * first + 0x20 * unneeded]) + made.data
    return made


def aiortcs(*packets: RtpPacket) -> list[int]:
    jitter = JitterBuffer(capacity=512, is_video=True)
    frames = [jitter.add(packet)[1] for packet in packets]
    return [frame.timestamp // 3000 for frame in frames if frame]


def test_a_frame_leaves_on_its_marker() -> None:
    packets = packet(0, 0, key=True, last=False), packet(1, 0, first=False), packet(2, 1)
    assert Buffer().add(*packets) == [0, 1]
    assert aiortcs(*packets) == [0]  # the second waits for a third


def test_without_markers_a_frame_leaves_with_the_next() -> None:
    buffer = Buffer()
    assert buffer.add(packet(0, key=True, last=False)) == []
    assert buffer.add(packet(1, last=False)) == [0]


def test_frames_behind_a_held_packet_leave_together_with_it() -> None:
    held = [packet(0, key=True), *map(packet, range(2, 30)), packet(1)]
    buffer = Buffer()
    assert buffer.add(*held[:-1]) == [0]
    assert buffer.add(held[-1]) == list(range(1, 30))
    assert buffer.events.counts["recovered"] == 1
    later = list(map(packet, range(30, 60)))
    assert buffer.add(*later) == list(range(30, 60))
    behind = aiortcs(*held, *later)
    assert behind[-1] == 30  # one frame per packet: the stream stays as late as the held packet made it


def test_numbers_and_timestamps_wrap() -> None:
    buffer = Buffer()
    start = (1 << 32) // 3000 - 2
    frames = [buffer.jitter.add(packet(65533 + i, start + i, key=not i)) for i in range(6)]
    timestamps = [one.timestamp for few in frames for one in few]
    assert timestamps == [3000 * i for i in range(6)]


def test_a_keyframe_is_wanted_after_two_round_trips_and_skipped_to() -> None:
    buffer = Buffer()
    stream = [packet(0, key=True), *map(packet, range(1, 10)), *map(packet, range(11, 20))]
    assert buffer.add(*stream) == list(range(10))
    deadline = buffer.round_trip.gap_deadline
    assert 2 * 0.05 <= deadline <= 3 * 0.05
    buffer.clock.now += 0.9 * deadline
    assert not buffer.jitter.wants_keyframe
    buffer.clock.now += 0.2 * deadline
    assert buffer.jitter.wants_keyframe == "gap"
    assert buffer.add(packet(20)) == []
    begun = packet(21, key=True, last=False)
    assert buffer.add(begun) == []
    assert not buffer.jitter.wants_keyframe  # it is coming
    end, after = packet(22, 21, first=False), packet(23)
    assert buffer.add(end, after) == [21, 23]
    assert not buffer.jitter.wants_keyframe
    assert +buffer.events.counts == {"skipped": 10, "lost": 1}
    assert buffer.add(packet(10)) == []  # which is too late now
    assert buffer.events.counts["late"] == 1
    assert aiortcs(*stream, packet(20), begun, end, after)[-1] == 8  # the picture stands still


def test_aiortc_stands_still_until_its_buffer_is_full() -> None:
    lost = [packet(0, key=True), *(packet(number, key=number % 50 == 0) for number in range(2, 520))]
    assert aiortcs(*lost[:500]) == []
    assert len(aiortcs(*lost)) > 0
    assert Buffer().add(*lost[:500]) == [0, *range(50, 501)]


def test_what_comes_late_but_before_the_keyframe_is_still_used() -> None:
    buffer = Buffer()
    buffer.add(packet(0, key=True), packet(2), packet(3))
    buffer.clock.now += 0.3
    assert buffer.jitter.wants_keyframe == "gap"
    assert buffer.add(packet(1)) == [1, 2, 3]
    assert not buffer.jitter.wants_keyframe
    assert +buffer.events.counts == {"recovered": 1}


def test_a_lost_packet_of_the_keyframe_itself_is_asked_for_then_another_keyframe_is() -> None:
    buffer = Buffer()
    buffer.add(packet(0, key=True), packet(2))
    buffer.clock.now += 0.3
    buffer.add(packet(3, key=True, last=False), packet(5, 3, first=False), packet(6))
    assert not buffer.jitter.wants_keyframe
    assert buffer.jitter.retransmissions.ask() == [(1 << 16) + 1, (1 << 16) + 4]
    buffer.clock.now += 0.3
    assert buffer.jitter.wants_keyframe == "gap"
    assert buffer.add(packet(4, 3, first=False, last=False)) == [3, 6]


def test_nothing_is_shown_before_the_first_keyframe_however_its_packets_come() -> None:
    buffer = Buffer()
    assert buffer.add(packet(0)) == []
    assert buffer.jitter.wants_keyframe == "start"
    assert buffer.add(packet(3, 2, first=False), packet(2, key=True, last=False), packet(4)) == [0, 2]
    assert buffer.events.counts["skipped"] == 1


def test_a_gap_in_a_frame_that_no_other_needs_costs_that_frame_only() -> None:
    buffer = Buffer()
    buffer.add(packet(0, key=True))
    part = {"unneeded": True}
    buffer.add(packet(1, 1, last=False, **part), packet(3, 1, first=False, **part), packet(4, 2))
    assert buffer.jitter.release() == []
    buffer.clock.now += 0.3
    assert [frame.timestamp for frame in buffer.jitter.release()] == [6000]
    assert not buffer.jitter.wants_keyframe
    assert +buffer.events.counts == {"skipped": 1, "lost": 1}


def test_after_a_failure_of_the_decoder_the_last_picture_is_held() -> None:
    buffer = Buffer()
    buffer.add(packet(0, key=True))
    buffer.jitter.await_keyframe("decoder")
    assert buffer.add(packet(1), packet(2)) == []
    assert buffer.jitter.wants_keyframe == "decoder"
    assert buffer.add(packet(3, key=True), packet(4)) == [3, 4]


def test_padding_is_no_frame() -> None:
    buffer = Buffer()
    padding = packet(1, 0, last=False)
    padding.payload = padding.data = padding._data = b""
    assert buffer.add(packet(0, key=True), padding, packet(2, 1)) == [0, 1]


def test_it_holds_no_more_than_its_capacity() -> None:
    buffer = Buffer()
    buffer.add(packet(0, key=True))
    for number in range(2, 5000):
        buffer.clock.now += 1 / 30
        buffer.add(packet(number))
        assert len(buffer.jitter._packets) <= CAPACITY
        assert len(buffer.jitter.retransmissions._missing) <= CAPACITY
    assert buffer.jitter.wants_keyframe == "gap"
    assert len(buffer.add(packet(5000, key=True), packet(5001))) == 2


def test_a_frame_that_begins_again_with_each_packet_costs_no_more_for_each() -> None:
    """A keyframe's packets that all say that it begins, and never that it ends: each once walked through all."""
    buffer, walked = Buffer(), Counter[int]()
    between, end = buffer.jitter._between, buffer.jitter._end_of_frame
    buffer.jitter._between = lambda before, after: bool(walked.update([0])) or between(before, after)
    buffer.jitter._end_of_frame = lambda start: [walked.update([0]), end(start)][1]
    for number in range(CAPACITY - 100):
        assert not buffer.add(packet(number, 0, key=True, last=False))
    assert walked[0] < 10 * CAPACITY
    # In another order, each is looked through once.
    buffer.add(packet(CAPACITY - 50, 0, key=True, last=False))
    before = walked[0]
    assert buffer.jitter._start_of_whole_keyframe() is None
    assert walked[0] - before < 2 * CAPACITY


def test_a_sender_that_starts_anew_is_followed() -> None:
    buffer = Buffer()
    assert buffer.add(packet(0, key=True), packet(1)) == [0, 1]
    buffer.clock.now += 1
    again = packet(30000, 5, key=True)
    again.ssrc = 8
    got = buffer.jitter.add(again)
    assert [frame.timestamp for frame in got] == [15000]
    jumped = packet(20000, 900_000, key=True)
    buffer.clock.now += 2
    got += buffer.jitter.add(jumped)
    assert all(a.timestamp < b.timestamp for a, b in pairwise(got))
    assert got[-1].timestamp == 15000 + 2 * 90000  # by the clock, as the timestamps tell nothing


def test_audio_packets_pass_at_once_and_late_ones_are_left_out() -> None:
    def sound(number: int, timestamp: int, data: bytes = b"x") -> RtpPacket:
        made = RtpPacket(96, 0, number, timestamp)
        made.data = data
        return made

    forwarding = AudioForwarding(Clock())
    passed = [forwarding.add(sound(i, ts)) for i, ts in enumerate((960, 1920, 3840, 2880, 4800, 4800))]
    assert [one and (one.timestamp, one.sent) for one in passed] == [
        (0, 960),
        (960, 1920),
        (2880, 3840),
        None,
        (3840, 4800),
        None,
    ]
    assert forwarding.add(sound(9, 5760, b"")) is None


def lossy() -> Buffer:
    """A buffer that has had a packet repaired, 30 frames a second so far, up to packet and frame 3."""
    buffer = Buffer()
    buffer.add(packet(0, key=True), packet(1), packet(3))
    buffer.jitter.retransmissions.ask()
    buffer.clock.now += 0.06
    assert buffer.add(packet(2)) == [2, 3]
    return buffer


def test_the_rest_of_a_frame_is_expected_at_once_and_the_next_frame_in_its_time() -> None:
    buffer = lossy()
    buffer.add(packet(4, 4, last=False))
    assert buffer.jitter.due == buffer.clock.now + PATIENCE
    buffer.clock.now += PATIENCE
    assert buffer.jitter.retransmissions.ask() == [(1 << 16) + 5]
    assert not buffer.jitter.wants_keyframe
    buffer.clock.now += 0.06
    assert buffer.add(packet(5, 4, first=False)) == [4]
    assert round(buffer.jitter.due - buffer.clock.now - PATIENCE, 3) == 0.033
    assert buffer.events.counts["recovered"] == 2


def test_after_a_pause_between_frames_none_is_expected() -> None:
    buffer = lossy()
    buffer.add(packet(4, 40))
    assert buffer.jitter.due is None


def test_what_was_expected_of_a_sender_that_starts_anew_is_forgotten() -> None:
    buffer = lossy()
    buffer.add(packet(4, 4, last=False), packet(30000, 30000, key=True))
    assert buffer.jitter.due is None
    assert buffer.events.counts["lost"] == 0
