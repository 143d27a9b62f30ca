"""Whose turn it is at the engine, on a clock that is set by hand."""

import queue
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest

from benchmarks.network.batches import simulate
from hime_core.engine import FaceRequest, Late
from hime_core.engine.waiting import LONGEST_WAIT, PREPARATION, WaitingRoom


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
        room.put((face(stream), Future()))
    assert [names(room.take(1))[0] for _ in range(6)] == ["a", "b", "c", "a", "a", "a"]


def test_a_stream_that_asks_again_at_once_waits_for_its_turn(clock):
    room = WaitingRoom(64, clock=clock)
    for stream in "abc":
        room.put((face(stream), Future()))
    order = []
    for _ in range(9):
        (stream,) = names(room.take(1))
        order.append(stream)
        room.put((face(stream), Future()))
    assert order == list("abcabcabc")


def test_a_batch_takes_from_all_streams_before_a_second_face_of_one(clock):
    room = WaitingRoom(64, clock=clock)
    for stream in "aaabbc":
        room.put((face(stream), Future()))
    assert sorted(names(room.take(4))) == ["a", "a", "b", "c"]


def test_only_faces_of_one_size_go_together_and_the_other_is_next(clock):
    room = WaitingRoom(64, clock=clock)
    for stream, side in (("a", 32), ("b", 48), ("c", 32), ("d", 48)):
        room.put((face(stream, side), Future()))
    assert names(room.take(8)) == ["a", "c"]
    assert names(room.take(8)) == ["b", "d"]


def test_what_is_late_is_refused_and_takes_no_turn(clock):
    room = WaitingRoom(64, clock=clock)
    late, good = Future(), Future()
    room.put((face("a", deadline=10.5), late))
    room.put((face("b"), good))
    clock.now = 11.0
    assert names(room.take(4)) == ["b"]
    assert isinstance(late.exception(), Late)
    assert room.late == 1


def test_a_full_room_takes_nobody(clock):
    room = WaitingRoom(2, clock=clock)
    assert room.put(*((face(s), Future()) for s in "abc")) == [True, True, False]
    room.take(1)
    assert room.put((face("d"), Future())) == [True]


def test_what_was_cancelled_is_left_out(clock):
    room = WaitingRoom(8, clock=clock)
    gone = Future()
    room.put((face("a"), gone))
    room.put((face("b"), Future()))
    gone.cancel()
    assert names(room.take(8)) == ["b"]


def test_faces_that_are_put_together_go_together():
    room, taken = WaitingRoom(8), []
    thread = threading.Thread(target=lambda: taken.extend(names(room.take(4))), daemon=True)
    thread.start()
    time.sleep(0.05)  # it waits for the first
    assert room.put((face("a"), Future()), (face("a"), Future()), (face("b"), Future())) == [True] * 3
    thread.join(10)
    assert sorted(taken) == ["a", "a", "b"]


def test_while_a_batch_runs_the_next_one_is_held_back(clock):
    room = WaitingRoom(8, expected=lambda bucket: 0.01, clock=clock)
    room.put((face("a"), Future()))
    assert names(room.look(4, "one")[0]) == ["a"]
    room.put((face("b"), Future()))
    batch, rest = room.look(4, "other")
    assert not batch and rest == pytest.approx(0.01 - PREPARATION)
    room.put((face("c"), Future()))
    room.done("one")  # sooner than was thought
    assert names(room.look(4, "other")[0]) == ["b", "c"]


def test_a_full_batch_waits_for_nothing(clock):
    room = WaitingRoom(8, expected=lambda bucket: 0.01, clock=clock)
    for stream in "abcd":
        room.put((face(stream), Future()))
    assert names(room.look(2, "one")[0]) == ["a", "b"]
    assert names(room.look(2, "other")[0]) == ["c", "d"]


@pytest.mark.parametrize(("apart", "held"), [(0.001, True), (0.006, False), (0.04, False)])
def test_company_is_waited_for_only_where_it_comes_soon(clock, apart, held):
    room = WaitingRoom(64, expected=lambda bucket: 0.01, clock=clock)
    for stream in range(60):
        room.put((face(stream), Future()))
        clock.now += apart
    while room.look(64, "one")[0]:  # nothing runs by then
        room.done("one")
        clock.now += 1e-3
    room.put((face("a"), Future()))
    batch, rest = room.look(4, "one")
    assert (not batch) is held
    if held:  # half of a batch's time: longer gains nothing for two
        assert rest == pytest.approx(0.005)


def test_slow_batches_are_no_reason_to_wait_long(clock):
    room = WaitingRoom(64, expected=lambda bucket: 1.0, clock=clock)
    for stream in range(60):
        room.put((face(stream), Future()))
        clock.now += 0.001
    room.look(64, "one")
    room.done("one")
    room.put((face("a"), Future()))
    assert room.look(4, "one") == ([], pytest.approx(LONGEST_WAIT))


def test_no_batch_is_held_back_until_it_would_be_late(clock):
    room = WaitingRoom(8, expected=lambda bucket: 0.5, clock=clock)
    room.put((face("a"), Future()))
    room.look(4, "one")
    room.put((face("b", deadline=10.52), Future()))
    batch, rest = room.look(4, "other")
    assert not batch and rest == pytest.approx(0.02)
    clock.now = 10.03
    assert names(room.look(4, "other")[0]) == ["b"]


def test_who_takes_again_is_done_and_holds_nobody_back():
    seconds, taken, go_on = [30.0], queue.Queue(), threading.Event()
    room = WaitingRoom(8, expected=lambda bucket: seconds[0])

    def lane() -> None:
        while batch := room.take(4):
            taken.put(names(batch))
            go_on.wait(10)

    lanes = [threading.Thread(target=lane, daemon=True) for _ in range(2)]
    room.put((face("a", deadline=time.monotonic() + 20), Future()))  # which leaves no time for company
    lanes[0].start()
    assert taken.get(timeout=10) == ["a"]
    room.put((face("b"), Future()))
    lanes[1].start()
    with pytest.raises(queue.Empty):  # the first batch should run for half a minute
        taken.get(timeout=0.1)
    seconds[0] = 0.0  # so that only what runs can hold the next one back
    go_on.set()
    assert taken.get(timeout=10) == ["b"]
    room.close()
    for thread in lanes:
        thread.join(10)


def test_who_is_done_wakes_nobody_where_nothing_waits():
    room, looks, go_on = WaitingRoom(8, expected=lambda bucket: 0.01), queue.Queue(), threading.Event()
    look = room.look

    def watched(most, taker):
        looks.put(threading.current_thread().name)
        return look(most, taker)

    def lane() -> None:
        while room.take(4):
            go_on.wait(10)

    room.look = watched
    lanes = {name: threading.Thread(target=lane, name=name, daemon=True) for name in ("busy", "idle")}
    room.put((face("a"), Future()))
    for name, thread in lanes.items():
        thread.start()
        assert looks.get(timeout=10) == name
    time.sleep(0.05)  # until the idle one waits
    go_on.set()
    assert looks.get(timeout=10) == "busy"
    with pytest.raises(queue.Empty):
        looks.get(timeout=0.1)
    room.close()
    for thread in lanes.values():
        thread.join(10)


@pytest.mark.parametrize(
    ("streams", "size", "answer"), [(1, 1.0, 2.0), (12, 1.0, 2.5), (40, 1.5, 3.5), (130, 4.5, 4.5)]
)
def test_under_load_batches_form_and_nobody_waits_long(streams, size, answer):
    """On a simulated clock: one face alone takes 1.85 ms, 540 a second would be the most one by one."""
    one = simulate(streams, 22.0, 5.0)
    assert one.size >= size and one.answer <= answer and one.late == 0
    if streams == 1:
        assert one.wait < 0.001


def test_closing_hands_back_what_waits_and_wakes_who_takes(clock):
    room = WaitingRoom(8, clock=clock)
    taken = ["nothing yet"]
    thread = threading.Thread(target=lambda: taken.__setitem__(0, room.take(1)), daemon=True)
    thread.start()
    room.close()
    thread.join(10)
    assert taken == [[]]
    assert room.put((face("a"), Future())) == [False]
