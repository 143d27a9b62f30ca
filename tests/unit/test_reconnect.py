"""Watchers of a publisher whose network is lost: how long they wait, for whom, and what ends it."""

from __future__ import annotations

import asyncio

import pytest

from server.rooms import watcher as watchers
from tests.unit.test_room import Listener, Stage


async def lost(stage, name="ann", subject="someone"):
    """A publisher with one watcher, whose network is lost; and that watcher's session."""
    ann = stage.come(name, subject=subject)
    bob = ann.watch()
    ann.session.lost = True
    stage.room.sweep()
    await asyncio.sleep(0.01)
    assert ann.stopped and ann.session.closed and not bob.closed
    return ann, bob


async def test_they_go_on_when_its_media_comes_again():
    stage = Stage()
    listener = Listener(stage.room)
    ann, bob = await lost(stage)
    assert stage.room.reconnecting == ["ann"] and stage.room.stats() == {} and not stage.room.idle
    stage.clock.now += 29
    again = stage.come(media=False)
    stage.room.sweep()
    assert stage.room.reconnecting == ["ann"] and not again.watchers
    again.on_media()
    assert again.watchers.keys() == {bob.id} and not bob.closed and again.people is ann.people
    assert stage.room.reconnecting == []
    stage.clock.now += 60
    stage.room.sweep()
    await asyncio.sleep(0)
    assert not bob.closed
    assert [await listener.next() for _ in range(3)] == [("joined", "ann"), ("reconnecting", "ann"), ("joined", "ann")]


async def test_they_end_when_the_time_is_over():
    stage = Stage(remember=0)
    listener = Listener(stage.room)
    _, bob = await lost(stage)
    stage.clock.now += 29.9
    stage.room.sweep()
    await asyncio.sleep(0)
    assert not bob.closed and stage.room.watcher("ann", bob.id) is bob
    stage.clock.now += 0.1
    stage.room.sweep()
    await asyncio.sleep(0.01)
    assert bob.closed and stage.room.watcher("ann", bob.id) is None and stage.room.reconnecting == []
    assert [await listener.next() for _ in range(3)] == [("joined", "ann"), ("reconnecting", "ann"), ("left", "ann")]
    listener.events.close()
    assert stage.room.forgotten


async def test_the_time_runs_on_while_who_comes_back_shows_nothing():
    stage = Stage()
    _, bob = await lost(stage)
    for _ in range(3):
        stage.clock.now += 9
        again = stage.come(media=False)
        cid = again.watch()
        again.session.on_over()
        await asyncio.sleep(0)
        assert again.stopped and not bob.closed and not cid.closed and stage.room.reconnecting == ["ann"]
    stage.clock.now += 3
    stage.room.sweep()
    await asyncio.sleep(0.01)
    assert bob.closed and cid.closed


@pytest.mark.parametrize("how", ["delete", "delete-lost", "goodbye", "refused", "another", "closed"])
async def test_they_end_at_once_when_nobody_is_to_come_back(how):
    stage = Stage()
    listener = Listener(stage.room)
    ann, bob = await lost(stage)
    room, there = stage.room, None
    if how == "delete-lost":
        assert room.absence("ann", "another session") is None and room.absence("ann", ann.session.id) is not None
        room.give_up("ann")
    elif how == "another":
        there = stage.come(subject="another's", media=False)
    elif how == "closed":
        await room.close()
    else:
        again = stage.come(media=False)
        if how == "delete":
            room.leave(again)
        elif how == "refused":
            room.refuse(again, "no_media")
        else:
            again.session.said_goodbye = True
            again.session.on_over()
    await asyncio.sleep(0.01)
    assert bob.closed and room.reconnecting == [] and room.participants == ({"ann": there} if there else {})
    events = [await listener.next() for _ in range(3 + (how == "refused"))]
    assert [name for name, _ in events if name != "refused"] == ["joined", "reconnecting", "left"]


@pytest.mark.parametrize("how", ["delete", "goodbye"])
async def test_who_leaves_takes_its_watchers_along(how):
    stage = Stage()
    ann = stage.come()
    bob = ann.watch()
    if how == "delete":
        stage.room.leave(ann)
    else:
        ann.session.said_goodbye = True
        ann.session.on_over()
    await asyncio.sleep(0.01)
    assert bob.closed and stage.room.reconnecting == []


async def test_who_never_showed_anything_is_not_waited_for():
    stage = Stage()
    ann = stage.come(media=False)
    bob = ann.watch()
    ann.session.on_over()
    await asyncio.sleep(0.01)
    assert bob.closed and stage.room.reconnecting == []


async def test_where_nobody_waits_a_lost_one_has_left():
    stage = Stage(reconnect=0)
    listener = Listener(stage.room)
    ann = stage.come()
    bob = ann.watch()
    ann.session.on_over()
    await asyncio.sleep(0.01)
    assert bob.closed and [await listener.next() for _ in range(2)] == [("joined", "ann"), ("left", "ann")]


async def test_they_go_on_with_who_takes_the_name_over():
    stage = Stage()
    listener = Listener(stage.room)
    ann = stage.come()
    bob = ann.watch()
    again = stage.come(media=False)
    assert ann.watchers and not again.watchers
    again.on_media()
    await asyncio.sleep(0.01)
    assert again.watchers.keys() == {bob.id} and ann.session.closed and not bob.closed
    assert [await listener.next() for _ in range(2)] == [("joined", "ann"), ("joined", "ann")]


async def test_a_newcomer_that_waits_gets_the_watchers_of_the_one_that_is_lost():
    stage = Stage()
    ann = stage.come()
    bob = ann.watch()
    again = stage.come(media=False)
    ann.session.on_over()
    assert stage.room.participants == {"ann": again} and stage.room.reconnecting == ["ann"] and not again.watchers
    again.on_media()
    assert again.watchers.keys() == {bob.id} and stage.room.reconnecting == []


async def test_one_who_waits_may_go_or_be_lost_itself():
    stage = Stage()
    ann = stage.come()
    bob, cid = ann.watch(), ann.watch()
    ann.session.on_over()
    stage.room.stop_watching("ann", bob.id)
    cid.lost = True
    stage.room.sweep()
    await asyncio.sleep(0.01)
    assert bob.closed and cid.closed and stage.room.reconnecting == ["ann"]
    assert stage.room.idle  # nobody waits any more, though the name is still known


async def test_who_listens_from_now_on_is_told_who_is_absent():
    stage = Stage()
    stage.come("ben")
    await lost(stage)
    listener = Listener(stage.room)
    assert [await listener.next() for _ in range(2)] == [("joined", "ben"), ("reconnecting", "ann")]
    stage.room.send_stats()
    assert (await anext(listener.events)).data["reconnecting"] == ["ann"]


async def test_the_absent_are_bounded(monkeypatch):
    monkeypatch.setattr(watchers, "MOST_ABSENT", 3)
    stage = Stage()
    waiting = [(await lost(stage, f"p{number}"))[1] for number in range(5)]
    stage.room.sweep()
    await asyncio.sleep(0.01)
    assert [one.closed for one in waiting] == [True, True, False, False, False]
    assert stage.room.reconnecting == ["p2", "p3", "p4"]
