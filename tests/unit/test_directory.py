"""Which node has which room, and what all nodes are told."""

from __future__ import annotations

import pytest

from server.cluster.directory import LOST_AFTER, RESERVED, SETTLING, Directory
from server.cluster.told import Beat, Change, View


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Nodes:
    """Each beats as a node does, with what it was told before."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.directory = Directory(self.clock)
        self.rooms: dict[str, set[str]] = {}
        self.free: dict[str, int] = {}
        self.views: dict[str, View] = {}
        self.done: dict[str, int] = {}

    def add(self, *names: str, free: int = 8) -> None:
        for name in names:
            self.rooms[name], self.free[name] = set(), free
            self.beat(name)

    def beat(self, *names: str, done: bool = True) -> None:
        """done: whether what they heard before is carried out."""
        for name in names:
            last = self.views.get(name, View("", {}, {}))
            if done and name in self.views:
                self.done[name] = last.number
            told = Beat(
                name, f"http://{name}", self.free[name], frozenset(self.rooms[name]), last.directory, last.number,
                self.done.get(name, -1),
            )  # fmt: skip
            self.views[name] = self.directory.beat(told)

    def settle(self) -> None:
        self.clock.now += SETTLING
        self.beat(*self.rooms)


@pytest.fixture
def nodes() -> Nodes:
    made = Nodes()
    made.add("a", "b")
    made.settle()
    return made


def test_a_room_is_one_nodes_whoever_asks(nodes: Nodes) -> None:
    assert nodes.directory.place("den", "b") == "b"
    assert nodes.directory.place("den", "a") == "b"
    nodes.beat("a")
    assert nodes.views["a"].rooms == {"den": "b"} and nodes.views["a"].nodes == {"a": "http://a", "b": "http://b"}


def test_new_rooms_go_where_most_room_is_left_also_those_that_are_promised(nodes: Nodes) -> None:
    nodes.free["b"] = 10
    nodes.beat("b")
    assert [nodes.directory.place(f"r{n}", "a") for n in range(4)] == ["b", "b", "a", "b"]


def test_a_full_node_gets_no_new_room_while_another_is_not(nodes: Nodes) -> None:
    nodes.free["a"] = 0
    nodes.beat("a")
    assert {nodes.directory.place(f"r{n}", "a") for n in range(8)} == {"b"}


def test_a_room_that_nobody_comes_to_is_free_again(nodes: Nodes) -> None:
    assert nodes.directory.place("den", "a") == "a"
    for _ in range(int(RESERVED) + 1):
        nodes.clock.now += 1.0
        nodes.beat("a", "b")
    assert nodes.views["b"].rooms == {}


def test_a_room_is_free_when_its_node_no_longer_tells_of_it(nodes: Nodes) -> None:
    nodes.rooms["a"] = {"den"}
    nodes.beat("a")
    nodes.rooms["a"] = set()
    nodes.beat("a", "b")
    assert nodes.views["b"].rooms == {} and nodes.directory.place("den", "b") == "b"


def test_a_lost_nodes_rooms_are_free_and_it_gets_none(nodes: Nodes) -> None:
    nodes.rooms["a"] = {"den"}
    nodes.beat("a", "b")
    nodes.clock.now += LOST_AFTER
    nodes.beat("b")
    assert nodes.directory.place("den", "b") == "a"  # it may only be late
    nodes.clock.now += 0.1
    nodes.beat("b")
    assert nodes.views["b"].nodes == {"b": "http://b"}
    assert nodes.directory.place("den", "b") == "b"


def test_one_that_says_goodbye_is_lost_at_once(nodes: Nodes) -> None:
    nodes.rooms["a"] = {"den"}
    nodes.beat("a")
    nodes.directory.leave("a")
    assert nodes.directory.place("den", "b") == "b"


def test_one_that_comes_back_learns_which_of_its_rooms_are_anothers(nodes: Nodes) -> None:
    nodes.rooms["a"] = {"den", "attic"}
    nodes.beat("a")
    nodes.clock.now += LOST_AFTER + 0.1
    nodes.rooms["b"] = {"den"}
    nodes.beat("b", "a")
    assert nodes.views["a"].taken == {"den"} and nodes.views["b"].taken == frozenset()
    assert nodes.views["a"].rooms == {"den": "b", "attic": "a"}


def test_started_anew_it_places_nothing_before_all_have_told_of_their_rooms(nodes: Nodes) -> None:
    nodes.rooms["a"] = {"den"}
    nodes.beat("a")
    nodes.directory = Directory(nodes.clock)
    assert nodes.directory.place("den", "b") is None
    nodes.beat("b")
    assert nodes.directory.place("den", "b") is None
    nodes.clock.now += 0.5
    nodes.beat("a")
    assert nodes.directory.place("den", "b") == "a"
    nodes.settle()
    assert nodes.directory.place("new", "b") == "b"


CHANGE = Change("forgotten", "zoe", ("1", "2"))


def test_a_change_is_told_to_all_and_carried_out_when_all_have_done_it(nodes: Nodes) -> None:
    nodes.add("c")
    nodes.beat("c")
    asked = nodes.directory.announce("a", CHANGE)
    assert not nodes.directory.carried_out("a", *asked)
    nodes.beat("a", "b", "c")
    assert [one.change for one in nodes.views["b"].changes] == [CHANGE]
    nodes.beat("b")
    nodes.beat("c", done=False)
    assert not nodes.directory.carried_out("a", *asked)
    nodes.beat("c")
    assert nodes.directory.carried_out("a", *asked)
    assert nodes.views["b"].changes == ()  # each is told once


def test_who_is_lost_is_not_waited_for_and_hears_of_it_when_back(nodes: Nodes) -> None:
    nodes.clock.now += LOST_AFTER + 0.1
    nodes.beat("a")
    asked = nodes.directory.announce("a", CHANGE)
    assert nodes.directory.carried_out("a", *asked)
    nodes.beat("b")
    assert [one.change for one in nodes.views["b"].changes] == [CHANGE] and not nodes.views["b"].missed


def test_who_comes_new_or_to_a_directory_that_was_started_anew_is_to_look_at_storage(nodes: Nodes) -> None:
    asked = nodes.directory.announce("a", CHANGE)
    nodes.directory = Directory(nodes.clock)
    nodes.beat("a", "b", done=False)
    assert nodes.views["b"].missed
    nodes.beat("b")
    assert not nodes.views["b"].missed and nodes.directory.carried_out("a", *asked)


def test_who_missed_more_than_is_remembered_is_to_look_at_storage(nodes: Nodes) -> None:
    for _ in range(10_001):
        nodes.directory.announce("a", CHANGE)
    nodes.beat("b")
    assert nodes.views["b"].missed
