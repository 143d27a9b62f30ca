"""The limits of rooms and sessions as a client meets them, and of what is held and remembered."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest

from server import problems
from tests.unit.enhancer_stage import ANN, Clock
from tests.unit.limited_rooms import is_problem, offered, serving
from tests.unit.test_people import photo_of


async def test_of_a_hundred_at_once_as_many_get_in_as_there_are_places() -> None:
    async with serving(max_streams=5, max_participants=100, max_participants_per_room=100) as relay:
        sdp = await offered("sendonly", "video")
        answers = await asyncio.gather(*(relay.publish(f"r{n % 7}", f"p{n}", sdp) for n in range(100)))
        statuses = [answer.status_code for answer in answers]
        assert statuses.count(201) == 5 and statuses.count(503) == 95
        assert all(is_problem(one, 503, "takes 5") for one in answers if one.status_code == 503)
        assert relay.refused("streams") == 95
        let_in = [answer for answer in answers if answer.status_code == 201]
        assert (await relay.http.delete(let_in[0].headers["location"])).status_code == 200
        await relay.settle()
        assert (await relay.publish("r", "late", sdp)).status_code == 201
        assert is_problem(await relay.publish("r", "later", sdp), 503, "published video")


async def test_of_a_hundred_watchers_at_once_too() -> None:
    async with serving(max_watchers=7, max_watchers_per_participant=5) as relay:
        sound = await offered("sendonly", "audio")
        for name in ("ann", "bob"):
            assert (await relay.publish("r", name, sound)).status_code == 201
        sdp = await offered("recvonly", "audio")
        answers = await asyncio.gather(*(relay.watch("r", "ann", sdp) for _ in range(50)))
        assert [answer.status_code for answer in answers].count(201) == 5
        answers = await asyncio.gather(*(relay.watch("r", "bob", sdp) for _ in range(50)))
        assert [answer.status_code for answer in answers].count(201) == 2
        assert relay.refused("watchers") == 93


async def test_views_of_one_participant_are_limited_and_watchers_of_one_view_are_not() -> None:
    async with serving(max_views_per_participant=2) as relay:
        assert (await relay.publish("r", "ann", await offered("sendonly", "video"))).status_code == 201
        sdp = await offered("recvonly", "video")
        for query in (
            "ann?view=enhanced&layout=zoom&width=640",
            "ann?view=original&layout=native",
            "ann?view=enhanced&layout=zoom&width=600",
        ):
            assert (await relay.watch("r", query, sdp)).status_code == 201
        assert is_problem(await relay.watch("r", "ann?view=original", sdp), 503, "at most 2 are made")
        assert relay.refused("views") == 1 and relay.places.watchers.taken == 3
        assert (await relay.watch("r", "ann?view=original&layout=native", sdp)).status_code == 201
        for session in list(relay.rooms._rooms["r"].participants["ann"].watchers):
            assert (await relay.http.delete(f"/whep/r/ann/{session}")).status_code == 200
        assert (await relay.watch("r", "ann?view=original", sdp)).status_code == 201


async def test_sound_alone_takes_no_place_of_video() -> None:
    async with serving(max_streams=1) as relay:
        assert (await relay.publish("r", "ann", await offered("sendonly", "video"))).status_code == 201
        assert (await relay.publish("r", "bob", await offered("sendonly", "audio"))).status_code == 201


async def test_ones_own_old_session_keeps_nobody_out() -> None:
    async with serving(max_streams=1) as relay:
        sdp = await offered("sendonly", "video")
        for _ in range(5):
            assert (await relay.publish("r", "ann", sdp)).status_code == 201
            assert relay.places.streams.taken == 1
            await relay.settle()
        assert is_problem(await relay.publish("r", "bob", sdp), 503, "takes 1")


async def test_rooms_are_limited_listeners_rooms_included() -> None:
    async with serving(max_rooms=3) as relay:
        sound = await offered("sendonly", "audio")
        listening = relay.rooms.listen("a")
        answers = await asyncio.gather(*(relay.publish(f"r{n}", "ann", sound) for n in range(20)))
        assert [answer.status_code for answer in answers].count(201) == 2
        assert relay.refused("rooms") == 18 and len(relay.rooms._rooms) == 3
        assert is_problem(await relay.publish("b", "ann", sound), 503, "another room: it takes 3")
        assert is_problem(await relay.http.get("/api/rooms/c/events"), 503, "another room: it takes 3")
        listening.release()
        assert (await relay.publish("b", "ann", sound)).status_code == 201  # in place of the room that is empty


async def test_listeners_are_limited() -> None:
    async with serving(max_listeners=2, max_listeners_per_room=1) as relay:
        held = [relay.rooms.listen("a"), relay.rooms.listen("b")]
        assert is_problem(await relay.http.get("/api/rooms/c/events"), 503, "another event stream: it takes 2")
        held.pop().release()
        assert is_problem(await relay.http.get("/api/rooms/a/events"), 503, "room has no room")
        assert relay.refused("listeners") == 2
        held.pop().release()
        assert relay.places.listeners.taken == 0 and not relay.rooms._rooms["a"]._events


async def test_pictures_of_exemplars_are_made_one_after_the_other_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(max_waiting_banks=3) as relay:
        assert (await relay.publish("r", "ann", await offered("sendonly", "audio"))).status_code == 201
        ann = relay.rooms._rooms["r"].participants["ann"]
        at_once, most, make = 0, 0, ann.bank

        def bank() -> Any:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            time.sleep(0.02)
            at_once -= 1
            return make()

        monkeypatch.setattr(ann, "bank", bank)
        answers = await asyncio.gather(*(relay.http.get("/api/rooms/r/ann/bank") for _ in range(10)))
        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 7 and most == 1
        assert relay.refused("banks") == 7 and relay.places.banks.taken == 0
        assert is_problem(next(one for one in answers if one.status_code == 503), 503, "it takes 3")


async def test_ten_times_the_limit_leaves_no_more_than_the_limit() -> None:
    async with serving(
        max_rooms=10, max_participants=10, max_listeners=10, max_remembered=5, sessions_per_minute=1_000_000
    ) as relay:
        sound = await offered("sendonly", "audio")
        rooms, held = relay.rooms, []
        for number in range(100):
            await relay.publish(f"r{number}", f"p{number}", sound)
            await relay.http.get(f"/api/rooms/other{number}")
            await relay.watch(f"r{number}", "nobody", sound)
            with suppress(problems.Problem):
                held.append(rooms.listen(f"listened{number}"))
        assert len(rooms._rooms) <= 10
        assert sum(len(place.participants) for place in rooms._rooms.values()) <= 10
        assert len(held) <= 10
        for place in (rooms.limits.admission.participants, rooms.limits.admission.listeners):
            assert len(place._taken) <= 10
        for one in held:
            one.release()
        labels = {
            tuple(sample.labels.values())
            for family in relay.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "hime_refused_total"
        }
        assert labels and labels <= {("participants",), ("listeners",), ("rooms",)}


async def test_what_is_remembered_is_bounded_in_all() -> None:
    clock = Clock()
    async with serving(clock, max_remembered=5, max_rooms=100) as relay:
        sound, rooms = await offered("sendonly", "audio"), relay.rooms
        for number in range(30):
            answer = await relay.publish(f"r{number % 10}", f"p{number}", sound)
            people = rooms._rooms[f"r{number % 10}"].participants[f"p{number}"].people
            people.newcomer(people.next_sighting()).bank.add_photo(photo_of(ANN, f"of-{number}"))
            clock.now += 0.1
            assert (await relay.http.delete(answer.headers["location"])).status_code == 200
        rooms._sweep.forget_oldest()
        left = sorted(name for place in rooms._rooms.values() for name in place.remembered.names)
        assert left == ["p25", "p26", "p27", "p28", "p29"]
