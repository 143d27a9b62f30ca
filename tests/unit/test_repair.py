from __future__ import annotations

import pytest
from aiortc.codecs import CODECS, get_encoder

from benchmarks.shared.peers import numbered_frame
from server.media.receive.payload import PayloadInfo, payload_info
from server.media.receive.repair import (
    GAP_DEADLINE,
    LOSSY,
    PATIENCE,
    REPAIR_BURST,
    REPAIR_SHARE,
    KeyframeRequests,
    Retransmissions,
    RoundTrip,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def round_trip(seconds: float) -> RoundTrip:
    made = RoundTrip()
    for _ in range(30):
        made.add(seconds)
    return made


def test_the_deadline_of_a_gap_is_about_two_round_trips_within_bounds() -> None:
    assert RoundTrip(0.1).gap_deadline >= 0.2
    assert round_trip(0.001).gap_deadline == GAP_DEADLINE[0]
    assert 0.2 <= round_trip(0.1).gap_deadline < 0.25
    assert round_trip(3).gap_deadline == GAP_DEADLINE[1]


def test_a_packet_is_asked_for_at_once_and_after_each_round_trip() -> None:
    clock = Clock()
    asking = Retransmissions(round_trip(0.02), clock)
    asking.missing(5, 7)
    assert asking.ask() == [5, 6] and asking.ask() == []
    assert asking.due == pytest.approx(clock.now + 0.03, abs=0.001)
    assert asking.arrived(5) and not asking.arrived(5)
    clock.now = asking.due
    assert asking.ask() == [6]
    assert asking.forget(10) == 1 and asking.due is None and asking.oldest(0) is None


def test_far_away_each_request_is_sent_twice() -> None:
    clock = Clock()
    asking = Retransmissions(round_trip(0.1), clock)
    asking.missing(5, 6)
    times = []
    while asking.due is not None:
        clock.now = max(clock.now, asking.due)
        assert asking.ask() == [5]
        times.append(clock.now - 100)
    assert times[:4] == pytest.approx([0, 0.01, 0.12, 0.13], abs=0.003)
    assert times[-1] <= 1.0  # the sender has forgotten it by then
    assert asking.oldest(0) == 100


def far_and_lossy() -> tuple[Clock, Retransmissions]:
    clock = Clock()
    asking = Retransmissions(round_trip(0.1), clock)
    asking.missing(1, 2)
    assert asking.ask() == [1]
    clock.now += 0.1
    assert asking.arrived(1)
    return clock, asking


def test_far_away_and_after_a_loss_the_next_packet_is_asked_for_before_it_is_overtaken() -> None:
    clock, asking = far_and_lossy()
    asking.expect(3, 0.05)
    assert asking.ask() == [] and asking.oldest(0) is None
    clock.now = asking.due
    assert clock.now == pytest.approx(100.1 + 0.05 + PATIENCE)
    assert asking.ask() == [3]
    asking.missing(3, 5)  # overtaken now: it is on its way, the one behind it is asked for
    assert asking.ask() == [4] and asking.oldest(0) == clock.now
    clock.now += 0.1
    assert asking.arrived(3) and asking.arrived(4)
    asking.expect(6, 0.0)
    assert asking.forget(7) == 0  # it may never have been sent


def test_packets_that_come_later_than_expected_are_waited_for_longer() -> None:
    clock, asking = far_and_lossy()
    for number in range(3, 100):  # a sender that spreads a frame's packets out
        asking.expect(number, 0.0)
        clock.now += 0.02
        if number > 3:
            assert asking.ask() == []
        assert not asking.arrived(number)
    asking.expect(100, 0.0)
    assert asking.due == pytest.approx(clock.now + 0.02 + PATIENCE / 2)


def test_nothing_is_asked_for_before_it_is_overtaken_on_a_short_path_or_one_that_loses_nothing() -> None:
    clock, asking = far_and_lossy()
    clock.now += LOSSY
    asking.expect(3, 0.0)
    assert asking.due is None
    near = Retransmissions(round_trip(0.02), clock)
    near.missing(1, 2)
    clock.now += 0.1
    near.arrived(1)
    near.expect(3, 0.0)
    assert near.due is None


def test_what_never_comes_is_not_asked_for_for_ever() -> None:
    clock, asking = far_and_lossy()
    asking.expect(3, 0.0)
    asked = 0
    while asking.due is not None:
        clock.now = max(clock.now, asking.due)
        asked += len(asking.ask())
    assert 2 <= asked <= 20


def test_keyframe_requests_are_coalesced() -> None:
    clock = Clock()
    requests = KeyframeRequests(round_trip(0.1), clock)
    sent = []
    while clock.now < 106:
        if requests.ask():
            sent.append(clock.now - 100)
        clock.now += 0.01
    # 0.1 s of round trip, and 0.3, then 0.6, then 1.2, then 2 s
    assert sent == pytest.approx([0, 0.4, 1.1, 2.4, 4.5], abs=0.06)
    clock.now += 5
    assert requests.ask() and requests.due == pytest.approx(clock.now + 0.4)


def test_packets_that_are_only_overtaken_are_waited_for() -> None:
    clock = Clock()
    asking = Retransmissions(round_trip(0.1), clock)
    asking.missing(1, 2)
    assert asking.ask() == [1]
    clock.now += 0.006
    assert asking.arrived(1)
    asking.missing(3, 5)
    assert asking.ask() == [] and asking.due == pytest.approx(clock.now + 0.006)
    clock.now += 0.003
    assert asking.arrived(3)
    clock.now += 0.004
    assert asking.ask() == [4]


def test_no_more_is_asked_for_than_a_share_of_what_comes() -> None:
    clock = Clock()
    asking = Retransmissions(round_trip(0.02), clock)
    asked = 0
    for number in range(0, 4000, 4):  # of four packets one comes
        asking.arrived(number)
        asking.missing(number + 1, number + 4)
        asked += len(asking.ask())
        clock.now += 0.01
    assert asked <= REPAIR_BURST + REPAIR_SHARE * 1000


@pytest.mark.parametrize("name", ["VP8", "H264"])
def test_keyframes_of_real_encoders_are_recognised(name: str) -> None:
    encoder = get_encoder(next(codec for codec in CODECS["video"] if codec.name == name))
    seen = []
    for number in range(6):
        payloads, _ = encoder.encode(numbered_frame(number), number == 4)
        infos = [payload_info(name, payload) for payload in payloads]
        seen.append(any(info.intra for info in infos))
        if seen[-1]:
            assert infos[0].begins
        assert not any(info.discardable for info in infos)
    assert seen == [True, False, False, False, True, False]


def test_payloads_by_their_descriptions() -> None:
    assert payload_info("VP8", b"\x10\x00") == PayloadInfo(True, True, False)
    assert payload_info("VP8", b"\x30\x01") == PayloadInfo(True, False, True)
    assert payload_info("VP8", b"\x00\x00") == PayloadInfo()
    assert payload_info("VP8", b"\x90\xf0\x81\x02\x03\x04\x00") == PayloadInfo(True, True, False)
    assert payload_info("VP8", b"\x90\x80\x01\x01") == PayloadInfo(True, False, False)
    assert payload_info("H264", b"\x01\x00") == PayloadInfo(False, False, True)
    assert payload_info("H264", b"\x61\x00") == PayloadInfo()
    assert payload_info("H264", b"\x7c\x85\x00") == PayloadInfo(False, True, False)  # FU-A, an IDR picture's start
    assert payload_info("H264", b"\x7c\x45\x00") == PayloadInfo()  # its end
    assert payload_info("H264", b"\x78\x00\x02\x67\x00\x00\x02\x68\x00") == PayloadInfo(True, True, False)  # STAP-A
    for cut in (b"", b"\x90", b"\x90\x80", b"\x90\x80\x01"):
        assert payload_info("VP8", cut) == PayloadInfo()
    for cut in (b"", b"\x7c", b"\x78", b"\x78\x00\x02"):
        assert payload_info("H264", cut) == PayloadInfo()
