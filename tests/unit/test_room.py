"""Who is known of a participant who has left, and for how long."""

import asyncio
from types import SimpleNamespace

import pytest

from hime_core.people.people import People
from server.media.rules import SessionRules
from server.observability.metrics import Metrics
from server.rooms.room import NameTaken, Room
from server.rooms.rooms import Rooms
from server.settings import Settings
from tests.unit.enhancer_stage import ANN, Clock
from tests.unit.test_people import photo_of


class Session:
    """on_over: as where the network is lost, unless it said goodbye."""

    def __init__(self, subject="someone"):
        self.id, self.subject, self.on_over = f"session-{id(self)}", subject, None
        self.said_goodbye, self.closed, self.lost = False, False, False

    def is_lost(self):
        return self.lost

    async def close(self):
        self.closed = True


class Participant:
    joined = False

    def __init__(self, name, people, subject="someone"):
        self.name, self.people, self.subject = name, people, subject
        self.session = Session(subject)
        self.watchers = {}
        self.started, self.stopped, self.may_close = False, False, asyncio.Event()
        self.threads = True  # whether it gets any
        self.may_close.set()

    def start(self):
        assert not self.started
        if not self.threads:
            raise RuntimeError("can't start new thread")
        self.started = True

    def stop(self):
        self.stopped = True

    def stats(self):
        return {}

    def refused_for_good(self, patience):
        return None

    def watch(self):
        session = Session("a watcher")
        self.watchers[session.id] = SimpleNamespace(session=session)
        return session

    def hand_over(self):
        watchers, self.watchers = self.watchers, {}
        return watchers

    def take_on(self, watchers):
        assert self.started and not self.stopped
        self.watchers.update(watchers)

    async def close(self):
        assert self.stopped
        await self.may_close.wait()
        for session in (self.session, *(one.session for one in self.watchers.values())):
            await session.close()


class Stage:
    """A room in which publishers come and go; each shows one face, with one exemplar."""

    def __init__(self, remember=120.0, reconnect=30.0):
        self.clock, self.dropped = Clock(), []
        new_people = lambda: People(self.dropped.extend, self.clock)  # noqa: E731
        self.room = Room("r", remember, new_people, self.clock, reconnect=reconnect)

    def come(self, name="ann", shows=True, media=True, subject="someone"):
        participant = Participant(name, self.room.people_for(name), subject)
        self.room.enter(participant)
        if media:
            participant.on_media()
        if shows and not participant.people.everyone():
            people = participant.people
            people.newcomer(people.next_sighting()).bank.add_photo(photo_of(ANN, f"of-{name}"))
        return participant

    async def leave(self, participant):
        self.room.leave(participant)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_one_who_returns_in_time_finds_what_was_known():
    stage = Stage()
    first = stage.come()
    await stage.leave(first)
    stage.clock.now += 119
    stage.room.sweep()
    assert stage.room.idle and not stage.room.forgotten
    assert stage.come().people is first.people and stage.dropped == []


async def test_after_that_all_is_gone():
    stage = Stage()
    first = stage.come()
    await stage.leave(first)
    stage.clock.now += 120
    assert stage.room.people_for("ann") is not first.people  # though nobody has swept
    assert stage.dropped == ["of-ann"] and first.people.everyone() == []
    assert stage.room.forgotten


async def test_one_who_was_never_seen_is_not_remembered():
    stage = Stage()
    await stage.leave(stage.come(shows=False))
    stage.room.sweep()
    assert stage.room.forgotten


async def test_nothing_is_remembered_where_that_is_not_wanted():
    stage = Stage(remember=0)
    first = stage.come()
    again = stage.come()
    assert again.people is not first.people
    await stage.leave(again)
    assert stage.room.forgotten and stage.dropped == ["of-ann", "of-ann"]


async def test_one_who_takes_over_a_name_goes_on_with_its_people():
    stage = Stage()
    first = stage.come()
    first.may_close.clear()
    second = stage.come()
    assert first.stopped and second.people is first.people
    first.may_close.set()
    await asyncio.sleep(0.01)
    assert stage.dropped == [] and len(second.people.exemplars()) == 1


async def test_of_two_who_came_at_once_the_last_ones_people_stay():
    stage = Stage()
    one, two = (Participant("ann", stage.room.people_for("ann")) for _ in range(2))
    assert one.people is not two.people
    for participant in (one, two):
        stage.room.enter(participant)
        participant.on_media()
        people = participant.people
        people.newcomer(people.next_sighting()).bank.add_photo(photo_of(ANN, str(id(participant))))
    await asyncio.sleep(0.01)
    assert stage.dropped == [str(id(one))]
    assert stage.room.all_people() == [two.people]


async def test_other_names_know_nobody():
    stage = Stage()
    first = stage.come()
    await stage.leave(first)
    assert stage.come("bob").people is not first.people


async def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr("server.rooms.remembered.MOST_REMEMBERED", 3)
    stage = Stage()
    for number in range(5):
        await stage.leave(stage.come(f"p{number}"))
    assert stage.dropped == ["of-p0", "of-p1"]


@pytest.mark.parametrize("there", [True, False])
async def test_closing_the_room_forgets_everyone(there):
    stage = Stage()
    participant = stage.come()
    if not there:
        await stage.leave(participant)
    await stage.room.close()
    assert stage.dropped == ["of-ann"] and stage.room.forgotten


class Listener:
    """What a room's listener is told."""

    def __init__(self, room):
        self.events = room.events()

    async def next(self):
        event = await asyncio.wait_for(anext(self.events), 1)
        return event.name, event.data["participant"]


async def test_another_subject_does_not_get_a_name_that_is_in_use():
    stage = Stage()
    first = stage.come(subject="ann's")
    with pytest.raises(NameTaken):
        stage.room.check_free("ann", "bob's")
    with pytest.raises(NameTaken):
        stage.come(subject="bob's")
    assert stage.room.participants == {"ann": first} and not first.stopped
    await stage.leave(first)
    assert stage.come(subject="bob's").started


async def test_a_newcomer_waits_for_its_media_and_touches_nothing():
    stage = Stage()
    first = stage.come()
    listener = Listener(stage.room)
    second = stage.come(media=False)
    assert stage.room.participants == {"ann": first} and not (first.stopped or second.started)
    assert await listener.next() == ("joined", "ann")
    assert stage.room.publisher("ann", second.session.id) is second
    assert stage.room.publisher("ann", first.session.id) is first
    assert stage.room.publisher("ann", "none") is stage.room.publisher("bob", second.session.id) is None
    second.on_media()
    assert stage.room.participants == {"ann": second} and first.stopped and second.started and second.joined
    assert await listener.next() == ("joined", "ann")
    assert stage.room.publisher("ann", first.session.id) is None
    second.session.said_goodbye = True
    second.session.on_over()
    assert await listener.next() == ("left", "ann")


@pytest.mark.parametrize("how", ["late", "lost", "over", "ended"])
async def test_a_newcomer_without_media_goes_and_was_never_there(how):
    stage = Stage()
    first = stage.come()
    second = stage.come(media=False)
    stage.clock.now += SessionRules.connect_timeout - 0.1
    stage.room.sweep()
    assert not second.stopped
    if how == "late":
        stage.clock.now += 0.2
        stage.room.sweep()
    elif how == "lost":
        second.session.lost = True
        stage.room.sweep()
    elif how == "over":
        second.session.on_over()
    else:
        stage.room.leave(second)
    await asyncio.sleep(0)
    assert second.stopped and not second.started and not first.stopped
    assert stage.room.participants == {"ann": first} and stage.dropped == [] and len(first.people.exemplars()) == 1
    second.on_media()  # which had been on its way
    assert stage.room.participants == {"ann": first} and not second.started


async def test_a_newcomer_has_as_long_as_the_settings_give_a_connection():
    stage = Stage()
    rooms = Rooms(Settings(_env_file=None, connect_timeout_s=40), Metrics(), clock=stage.clock)
    stage.room = rooms._room("r")
    first, second = stage.come(), stage.come(media=False)
    stage.clock.now += 39.9
    stage.room.sweep()
    assert not second.stopped
    stage.clock.now += 0.2
    stage.room.sweep()
    assert second.stopped and stage.room.participants == {"ann": first}
    await rooms.close()


async def test_a_newer_newcomer_takes_the_place_of_the_one_that_waits():
    stage = Stage()
    first = stage.come()
    second, third = stage.come(media=False), stage.come(media=False)
    assert second.stopped and not third.stopped and not first.stopped
    second.on_media()
    assert stage.room.participants == {"ann": first}
    third.on_media()
    assert stage.room.participants == {"ann": third} and third.people is first.people


async def test_a_newcomer_takes_the_name_that_was_left_while_it_waited():
    stage = Stage()
    first = stage.come()
    second = stage.come(media=False)
    await stage.leave(first)
    assert stage.room.participants == {"ann": second} and second.started and not second.joined
    assert second.people is first.people and stage.dropped == []
    second.on_media()
    assert second.joined
    with pytest.raises(NameTaken):
        stage.come(subject="another's")


async def test_where_nothing_is_remembered_a_newcomers_people_are_its_own():
    stage = Stage(remember=0)
    first = stage.come()
    second = stage.come(media=False)
    assert second.people is not first.people
    await stage.leave(second)
    assert first.people.exemplars()


async def test_closing_the_room_ends_who_waits():
    stage = Stage()
    first, second = stage.come(), stage.come(media=False)
    await stage.room.close()
    assert first.stopped and second.stopped and not second.started
    assert stage.room.forgotten and stage.dropped == ["of-ann"]


async def test_a_newcomer_without_threads_takes_nothing_on_and_who_had_the_name_has_left():
    stage = Stage()
    listener = Listener(stage.room)
    first, second = stage.come(), stage.come(media=False)
    bob, second.threads = first.watch(), False
    second.on_media()
    assert stage.room.participants == {} and first.stopped and second.stopped and not second.watchers
    assert [await listener.next() for _ in range(2)] == [("joined", "ann"), ("left", "ann")]
    await asyncio.sleep(0.01)
    assert bob.closed and first.session.closed and second.session.closed
    again = stage.come()
    assert again.people is first.people and stage.dropped == []  # what was known is remembered all the same


async def test_a_newcomer_without_threads_leaves_who_waits_for_an_absent_one_without_it_once():
    """The name's publisher was lost, came back without media yet, and tries again beside that."""
    stage = Stage()
    listener = Listener(stage.room)
    first = stage.come()
    bob = first.watch()
    first.session.lost = True
    stage.room.sweep()
    back, second = stage.come(media=False), stage.come(media=False)
    cem, second.threads = back.watch(), False
    second.on_media()
    await stage.room.close()
    assert [event.name async for event in listener.events] == ["joined", "reconnecting", "left"]
    assert bob.closed and cem.closed


async def test_who_gets_no_threads_leaves_what_is_remembered_where_it_is_deleted():
    stage = Stage()
    first = stage.come()
    photo = photo_of(ANN, "a-photo")
    first.people.expect("ann").bank.add_photo(photo)
    await stage.leave(first)
    refused = Participant("ann", stage.room.people_for("ann"))
    refused.threads = False
    with pytest.raises(RuntimeError):
        stage.room.enter(refused)
    assert refused.stopped and stage.room.participants == {} and stage.room.idle
    stage.room.forget_photos(["a-photo"])
    assert "a-photo" in stage.dropped
    stage.clock.now += 120
    stage.room.sweep()
    assert stage.room.forgotten and "of-ann" in stage.dropped


async def test_who_gets_no_threads_leaves_those_who_wait_for_the_absent_one_waiting():
    stage = Stage()
    first = stage.come()
    bob = first.watch()
    first.session.lost = True
    stage.room.sweep()
    refused = Participant("ann", stage.room.people_for("ann"), "another")
    refused.threads = False
    with pytest.raises(RuntimeError):
        stage.room.enter(refused)
    await asyncio.sleep(0.01)
    assert stage.room.reconnecting == ["ann"] and not bob.closed


async def test_what_goes_wrong_at_a_sessions_end_is_logged_without_its_words(caplog):
    stage = Stage()
    ann, name = stage.come(), "somebody-s-name"

    async def fails():
        raise KeyError(name)

    ann.session.close = fails
    stage.room.leave(ann)
    await stage.room.close()
    (record,) = caplog.records
    assert record.levelname == "ERROR" and "KeyError" in record.getMessage()
    assert name not in caplog.text
