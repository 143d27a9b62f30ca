"""Places, and that their count is always that of the living."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.limits.admission import Admission, Admitted, estimated_streams
from server.limits.slots import SHARED_BY, Full, Slots
from server.problems import Problem
from server.settings import Settings, load_settings
from server.settings.processors import cores


def test_places_are_limited_in_all_and_by_group():
    slots = Slots(3, 2)
    a = [slots.take("a"), slots.take("a")]
    with pytest.raises(Full) as caught:
        slots.take("a")
    assert (caught.value.in_all, caught.value.most) == (False, 2)
    slots.take("b")
    with pytest.raises(Full) as caught:
        slots.take("c")
    assert (caught.value.in_all, caught.value.most) == (True, 3)
    a[0].release()
    a[0].release()  # which gives back no more
    assert (slots.taken, slots.of("a")) == (2, 1)
    slots.take("c")


def test_groups_that_are_gone_take_no_memory():
    slots = Slots(10)
    for number in range(1000):
        slots.take(number).release()
    assert not slots._taken


def test_an_error_gives_the_place_back_and_success_keeps_it():
    slots = Slots(1)
    with pytest.raises(KeyError), Admitted({slots: slots.take()}):
        raise KeyError
    assert slots.taken == 0
    with Admitted({slots: slots.take()}) as admitted:
        pass
    assert slots.taken == 1
    admitted.release()
    assert slots.taken == 0


def test_a_shared_place_is_free_once_all_have_left():
    slots = Slots(1)
    first = slots.take()
    second = first.share()
    assert second is not None and slots.taken == 1
    first.release()
    assert slots.taken == 1 and first.share() is None
    third = second.share()
    second.release()
    third.release()
    assert slots.taken == 0


def test_a_place_is_not_shared_without_end():
    slots = Slots(1)
    holds = [slots.take()]
    while (more := holds[0].share()) is not None:
        holds.append(more)
    assert len(holds) == SHARED_BY
    holds.pop().release()
    assert holds[0].share() is not None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "share", "release", "again"]), st.integers(0, 30), st.sampled_from("abc"))
    )
)
def test_whatever_comes_the_count_is_that_of_the_held_places(steps):
    """Against a model: a list of places, each with the holds on it."""
    slots, places, all_holds = Slots(4, 2), [], []
    for step, number, group in steps:
        if step == "take":
            of_group = sum(one == group for one, _ in places)
            try:
                hold = slots.take(group)
                places.append((group, [hold]))
                all_holds.append(hold)
            except Full:
                assert of_group == 2 or len(places) == 4
            else:
                assert of_group < 2 and len(places) <= 4
        elif step == "share" and places:
            holds = places[number % len(places)][1]
            shared = holds[0].share()
            assert (shared is None) == (len(holds) == SHARED_BY)
            if shared:
                holds.append(shared)
                all_holds.append(shared)
        elif step == "release" and places:
            holds = places[number % len(places)][1]
            holds.pop(number % len(holds)).release()
            places = [place for place in places if place[1]]
        elif step == "again" and all_holds:
            one = all_holds[number % len(all_holds)]
            if not any(one is hold for _, holds in places for hold in holds):
                one.release()
        assert slots.taken == len(places)
        for name in "abc":
            assert slots.of(name) == sum(group == name for group, _ in places)


# --- admission


def admission(counted=None, **settings):
    return Admission(Settings(_env_file=None, **settings), refused=(counted if counted is not None else []).append)


def refusal(call, *arguments):
    with pytest.raises(Problem) as caught:
        call(*arguments)
    return caught.value


@pytest.mark.parametrize(
    ("settings", "takes", "reason", "says", "limit"),
    [
        (
            {"max_participants": 2, "max_participants_per_room": 2},
            [("publisher", "a", False), ("publisher", "b", False), ("publisher", "c", False)],
            "participants",
            "The relay has no room for another participant: it takes 2. Try again when one has left.",
            "HIME_MAX_PARTICIPANTS",
        ),
        (
            {"max_participants_per_room": 1},
            [("publisher", "a", False), ("publisher", "a", False)],
            "participants",
            "The room has no room for another participant: it takes 1. Try again when one has left.",
            "HIME_MAX_PARTICIPANTS_PER_ROOM",
        ),
        (
            {"max_streams": 1},
            [("publisher", "a", True), ("publisher", "b", True)],
            "streams",
            "The relay has no room for another published video: it takes 1. Try again when one has left.",
            "HIME_MAX_STREAMS",
        ),
        (
            {"max_watchers": 1},
            [("watcher", "a", "ann"), ("watcher", "b", "bob")],
            "watchers",
            "The relay has no room for another watcher: it takes 1. Try again when one has left.",
            "HIME_MAX_WATCHERS",
        ),
        (
            {"max_watchers_per_participant": 1},
            [("watcher", "a", "ann"), ("watcher", "a", "ann")],
            "watchers",
            "The participant has no room for another watcher: it takes 1. Try again when one has left.",
            "HIME_MAX_WATCHERS_PER_PARTICIPANT",
        ),
        (
            {"max_listeners": 1},
            [("listener", None), ("listener", "a")],
            "listeners",
            "The relay has no room for another event stream: it takes 1. Try again when one has left.",
            "HIME_MAX_LISTENERS",
        ),
        (
            {"max_listeners_per_room": 1},
            [("listener", "a"), ("listener", "a")],
            "listeners",
            "The room has no room for another event stream: it takes 1. Try again when one has left.",
            "HIME_MAX_LISTENERS_PER_ROOM",
        ),
    ],
)
def test_each_limit_is_refused_and_counted(settings, takes, reason, says, limit):
    counted = []
    places = admission(counted, **settings)
    *before, (method, *last) = takes
    held = [getattr(places, name)(*arguments) for name, *arguments in before]
    problem = refusal(getattr(places, method), *last)
    assert (problem.status_code, problem.detail) == (503, says)
    assert problem.members == {"limit": limit} and int(problem.headers["Retry-After"]) > 0
    assert counted == [reason]
    held[0].release()
    getattr(places, method)(*last)


def test_who_is_refused_the_second_place_gives_the_first_back():
    places = admission(max_streams=1)
    places.publisher("a", True)
    refusal(places.publisher, "a", True)
    assert (places.participants.taken, places.streams.taken) == (1, 1)


def test_who_takes_over_shares_the_places_until_the_other_has_left():
    places = admission(max_streams=1, max_participants=1, max_participants_per_room=1)
    old = places.publisher("a", True)
    refusal(places.publisher, "a", True)
    new = places.publisher("a", True, instead_of=old)
    old.release()
    assert (places.participants.taken, places.streams.taken) == (1, 1)
    new.release()
    assert (places.participants.taken, places.streams.taken) == (0, 0)


def test_who_had_no_video_has_no_place_of_one_to_share():
    places = admission(max_streams=1)
    sound = places.publisher("a", False)
    places.publisher("b", True)
    refusal(places.publisher, "a", True, sound)
    assert places.participants.taken == 2


def test_the_dashboards_have_no_limit_of_one_room():
    places = admission(max_listeners=3, max_listeners_per_room=1)
    for _ in range(3):
        places.listener(None)
    refusal(places.listener, "a")


def test_auto_follows_the_processor():
    assert estimated_streams(2, gpu=False) == 8
    assert estimated_streams(16, gpu=False) == 64
    assert estimated_streams(16, gpu=True) == 96
    assert estimated_streams(0.5, gpu=False) == 8


def test_a_containers_share_of_the_processor_counts(tmp_path):
    limit = tmp_path / "cpu.max"
    whole = cores(limit)  # no such file
    assert whole >= 1
    for text, expected in (("max 100000\n", whole), ("50000 100000\n", 0.5), ("nonsense\n", whole)):
        limit.write_text(text)
        assert cores(limit) == expected


def test_streams_are_auto_or_a_number(monkeypatch):
    assert load_settings().max_streams == "auto"
    monkeypatch.setenv("HIME_MAX_STREAMS", "12")
    assert load_settings().max_streams == 12
