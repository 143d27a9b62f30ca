"""Whose turn it is at the engine, on a clock that is set by hand."""

import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest

from hime_core.engine import FaceRequest, Late
from hime_core.engine.waiting import WaitingRoom


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


def face(stream, side=32, deadline=float("inf")) -> FaceRequest:
    return FaceRequest(np.zeros((side, side, 3), np.uint8), np.zeros((5, 2), np.float32), (), stream, deadline)


def names(batch) -> list:
    return [work.request.stream for work in batch]


@pytest.fixture
def clock():
    return Clock()


def test_streams_take_turns_however_many_faces_each_has(clock):
    room = WaitingRoom(64, clock=clock)
    for stream in "aaaabc":
        room.put(face(stream), Future())
    assert [names(room.take(1))[0] for _ in range(6)] == ["a", "b", "c", "a", "a", "a"]


def test_a_stream_that_asks_again_at_once_waits_for_its_turn(clock):
    room = WaitingRoom(64, clock=clock)
    for stream in "abc":
        room.put(face(stream), Future())
    order = []
    for _ in range(9):
        (stream,) = names(room.take(1))
        order.append(stream)
        room.put(face(stream), Future())
    assert order == list("abcabcabc")


def test_a_batch_takes_from_all_streams_before_a_second_face_of_one(clock):
    room = WaitingRoom(64, clock=clock)
    for stream in "aaabbc":
        room.put(face(stream), Future())
    assert sorted(names(room.take(4))) == ["a", "a", "b", "c"]


def test_only_faces_of_one_size_go_together_and_the_other_is_next(clock):
    room = WaitingRoom(64, clock=clock)
    for stream, side in (("a", 32), ("b", 48), ("c", 32), ("d", 48)):
        room.put(face(stream, side), Future())
    assert names(room.take(8)) == ["a", "c"]
    assert names(room.take(8)) == ["b", "d"]


def test_what_is_late_is_refused_and_takes_no_turn(clock):
    room = WaitingRoom(64, clock=clock)
    late, good = Future(), Future()
    room.put(face("a", deadline=10.5), late)
    room.put(face("b"), good)
    clock.now = 11.0
    assert names(room.take(4)) == ["b"]
    assert isinstance(late.exception(), Late)
    assert room.late == 1


def test_a_full_room_takes_nobody(clock):
    room = WaitingRoom(2, clock=clock)
    assert [room.put(face(s), Future()) for s in "abc"] == [True, True, False]
    room.take(1)
    assert room.put(face("d"), Future())


def test_what_was_cancelled_is_left_out(clock):
    room = WaitingRoom(8, clock=clock)
    gone = Future()
    room.put(face("a"), gone)
    room.put(face("b"), Future())
    gone.cancel()
    assert names(room.take(8)) == ["b"]


@pytest.mark.parametrize(("expected", "deadline", "held"), [(0.0, 99.0, True), (0.5, 10.4, False), (0.0, 10.02, True)])
def test_a_batch_waits_for_company_unless_it_would_be_late(clock, expected, deadline, held):
    room = WaitingRoom(8, linger=0.03, expected=lambda bucket: expected, clock=clock)
    room.put(face("a", deadline=deadline), Future())
    assert (room._patience(room._alike()) > 0) is held
    if deadline < 10.03:  # its own deadline comes before the end of the holding
        assert room._patience(room._alike()) == pytest.approx(0.02)


def test_company_ends_the_waiting():
    room = WaitingRoom(8, linger=30.0)
    taken = []
    thread = threading.Thread(target=lambda: taken.extend(names(room.take(2))), daemon=True)
    room.put(face("a"), Future())
    thread.start()
    time.sleep(0.05)
    assert taken == []
    room.put(face("b"), Future())
    thread.join(10)
    assert taken == ["a", "b"]


def test_each_lane_takes_its_share_without_waiting_for_more(clock):
    room = WaitingRoom(16, linger=30.0, clock=clock, lanes=4)
    for stream in "abcdefgh":
        room.put(face(stream), Future())
    assert [names(room.take(16)) for _ in range(4)] == [["a", "b"], ["c", "d"], ["e"], ["f"]]
    room.put(face("a"), Future())
    assert names(room.take(16)) == ["g"]  # g, h and a wait: the longest unserved comes first


def test_closing_hands_back_what_waits_and_wakes_who_takes(clock):
    room = WaitingRoom(8, clock=clock)
    taken = ["nothing yet"]
    thread = threading.Thread(target=lambda: taken.__setitem__(0, room.take(1)), daemon=True)
    thread.start()
    room.close()
    thread.join(10)
    assert taken == [[]]
    assert not room.put(face("a"), Future())
