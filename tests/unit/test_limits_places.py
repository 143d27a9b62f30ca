"""Every place is given back, whatever fails, and whoever goes away when."""

from __future__ import annotations

import asyncio
import random
from typing import Any, ClassVar

import pytest

from server import problems
from server.media.aiortc_door import PeerTransport
from server.media.negotiation import InvalidOffer, Offer
from server.rooms import rooms as rooms_module
from server.rooms.participant import Participant
from server.rooms.room import NameTaken, Room
from server.rooms.rooms import NotFound
from server.rooms.watcher import Absence
from tests.unit.enhancer_stage import Clock
from tests.unit.limited_rooms import offered, serving
from tests.unit.test_negotiation import offer, section


class Broken(Exception):
    pass


def broken(*arguments: Any, **options: Any) -> Any:
    raise Broken


FAILURES = {
    "the enhancer": ("server.rooms.rooms.Rooms._make", None),
    "the participant": ("server.rooms.rooms.Participant", broken),
    "the session": ("server.rooms.rooms.Session", broken),
    "the receiver": ("server.media.session.VideoReceiver", broken),
    "the answer": ("server.media.session.write_answer", broken),
    "the sockets": ("server.media.aiortc_door.PeerTransport.gather", broken),
    "the candidates": ("server.media.aiortc_door.PeerTransport.add_candidate", broken),
    "the room": ("server.rooms.room.Room.enter", broken),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_whatever_fails_for_a_publisher_gives_its_places_back(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(max_streams=1) as relay:
        sdp = await offered("sendonly", "video")
        path, instead = FAILURES[what]
        with monkeypatch.context() as patched:
            if instead is None:
                patched.setattr(relay.rooms, "_make_enhancer", broken)
            else:
                patched.setattr(path, instead)
            assert (await relay.publish("r", "ann", sdp)).status_code == 500
        assert (relay.places.participants.taken, relay.places.streams.taken) == (0, 0)
        assert relay.rooms._rooms["r"].forgotten
        assert (await relay.publish("r", "ann", sdp)).status_code == 201


@pytest.mark.parametrize(
    "path",
    [
        "server.rooms.rooms.Session",
        "server.media.session.write_answer",
        "server.media.session.AudioSender",
        "server.media.aiortc_door.PeerTransport.gather",
        "server.rooms.participant.Participant.watch",
    ],
)
async def test_whatever_fails_for_a_watcher_gives_its_place_back(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(max_watchers=1) as relay:
        assert (await relay.publish("r", "ann", await offered("sendonly", "audio"))).status_code == 201
        sdp = await offered("recvonly", "audio")
        with monkeypatch.context() as patched:
            patched.setattr(path, broken)
            assert (await relay.watch("r", "ann", sdp)).status_code == 500
        assert relay.places.watchers.taken == 0
        assert (await relay.watch("r", "ann", sdp)).status_code == 201


async def test_an_offer_that_cannot_be_answered_and_one_that_is_given_up_hold_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(max_streams=1) as relay:
        sdp = await offered("sendonly", "video")
        wrong = sdp.replace("VP8", "VP7").replace("H264", "H26X")
        assert (await relay.publish("r", "ann", wrong)).status_code == 400
        assert relay.places.streams.taken == 0
        reached = asyncio.Event()

        async def forever(transport: PeerTransport) -> None:
            reached.set()
            await asyncio.sleep(60)

        with monkeypatch.context() as patched:
            patched.setattr(PeerTransport, "gather", forever)
            given_up = asyncio.create_task(relay.rooms.publish("r", "ann", "her", Offer.parse(sdp)))
            await reached.wait()
            assert relay.places.streams.taken == 1
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
        assert relay.places.streams.taken == 0


async def test_one_whose_network_is_lost_gives_the_place_back() -> None:
    clock = Clock()
    async with serving(clock, max_streams=1, connect_timeout_s=10) as relay:
        assert (await relay.publish("r", "ann", await offered("sendonly", "video"))).status_code == 201
        clock.now += 9
        relay.rooms._rooms["r"].sweep()
        assert relay.places.streams.taken == 1
        clock.now += 2
        relay.rooms._rooms["r"].sweep()
        await relay.settle()
        assert relay.places.streams.taken == 0


class Steps:
    """In the place of a session: each step may take a while, or fail."""

    random: ClassVar[random.Random] = random.Random()
    alive: ClassVar[set[Steps]] = set()

    def __init__(self, *arguments: Any) -> None:
        self.id, self.subject = f"{self.random.random()}", arguments[3]
        self.on_over = self.on_closed = lambda: None
        self.closing: asyncio.Future[None] | None = None
        self.lost = self.over = self.said_goodbye = False

    async def publish(self, offer: Offer, video: Any, audio: Any) -> None:
        await self._step()

    watch = publish

    async def _step(self) -> None:
        """Closed where it fails, as a session is."""
        self.alive.add(self)
        try:
            for _ in range(self.random.randrange(4)):
                await asyncio.sleep(0)
            if self.random.random() < 0.2:
                raise self.random.choice([InvalidOffer("no"), OSError("no"), asyncio.CancelledError()])
        except BaseException:
            await self.close()
            raise

    def is_lost(self) -> bool:
        return self.lost

    async def close(self) -> None:
        self.closing = self.closing or asyncio.ensure_future(self._close())
        await asyncio.shield(self.closing)

    async def _close(self) -> None:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        self.alive.discard(self)
        self.on_closed()


def absences(place: Room) -> list[tuple[str, Absence]]:
    """Whose network is lost, by name."""
    return list(place._absences._by_name.items())


def everyone(place: Room) -> list[Participant]:
    """Who publishes there, and who waits for a name."""
    return [*place.participants.values(), *(one.participant for one in place._newcomers.values())]


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_the_count_is_that_of_the_living(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(Steps, "random", chance)
    monkeypatch.setattr(Steps, "alive", set())
    monkeypatch.setattr(rooms_module, "Session", Steps)
    sends = Offer.parse(offer(section("audio", "sendonly")))
    sends_video = Offer.parse(offer(section("video", "sendonly")))
    receives = Offer.parse(offer(section("audio", "recvonly")))
    limits = {"max_streams": 3, "max_participants": 6, "max_participants_per_room": 4, "max_watchers": 6}
    clock = Clock()
    async with serving(clock, max_watchers_per_participant=3, max_rooms=3, reconnect_s=6, **limits) as relay:
        rooms, places, tasks = relay.rooms, relay.places, set()

        waited: set[Any] = set()  # watchers, for a publisher whose network was lost

        def someone() -> tuple[str, str]:
            return chance.choice("abcd"), chance.choice(["ann", "bob", "cid", "dan", "eve"])

        def step() -> None:
            what, (room, name) = chance.random(), someone()
            there = [(place, one) for place in rooms._rooms.values() for one in place.participants.values()]
            absent = [(place, *one) for place in rooms._rooms.values() for one in absences(place)]
            if what < 0.4:
                subject = chance.choice("xy")
                if absent and chance.random() < 0.5:
                    room, name, subject = next((p.name, name, one.session.subject) for p, name, one in absent)
                offered = chance.choice([sends, sends_video])
                tasks.add(asyncio.ensure_future(rooms.publish(room, name, subject, offered)))
            elif what < 0.6:
                if there and chance.random() < 0.8:
                    room, name = next((place.name, one.name) for place, one in [chance.choice(there)])
                tasks.add(asyncio.ensure_future(rooms.watch(room, name, "they", receives, "enhanced", "native")))
            elif what < 0.65 and tasks:
                chance.choice(list(tasks)).cancel()
            elif there:
                place, one = chance.choice(there)
                if what < 0.8 and not one.joined:
                    one.on_media()
                elif what < 0.85:
                    one.session.lost = True
                elif what < 0.9 and one.watchers:
                    rooms.end(place.name, one.name, chance.choice(list(one.watchers.values())).session)
                elif what < 0.92 and one.watchers:
                    chance.choice(list(one.watchers.values())).session.lost = True
                else:
                    rooms.end(place.name, one.name, one.session)
            waited.update(watcher.session for *_, one in absent for watcher in one.watchers.values())
            if absent and chance.random() < 0.1:
                place, name, absence = chance.choice(absent)
                ends = [absence, *absence.watchers.values()]
                rooms.end(place.name, name, chance.choice(ends).session)
            clock.now += 0.2
            if chance.random() < 0.2:
                for place in list(rooms._rooms.values()):
                    place.sweep()

        for number in range(400):
            step()
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            assert places.streams.taken <= 3 and places.participants.taken <= 6 and places.watchers.taken <= 6
            if number % 40 == 39:
                results = await asyncio.gather(*tasks, return_exceptions=True)
                known = (InvalidOffer, OSError, NotFound, NameTaken, problems.Problem, asyncio.CancelledError, Steps)
                assert [one for one in results if not isinstance(one, known)] == []
                tasks.clear()
                await relay.settle()
                there = [one for place in rooms._rooms.values() for one in everyone(place)]
                for slots in (places.participants, places.streams):  # who waits for a name shares its holder's place
                    held = {slot._place for one in there if (slot := one.admitted._slots.get(slots))}
                    assert slots.taken == len(held)
                lost = [one for place in rooms._rooms.values() for _, one in absences(place)]
                watching = {watcher.session for one in there + lost for watcher in one.watchers.values()}
                assert places.watchers.taken == len(watching)
                assert Steps.alive == {one.session for one in there} | watching
                for place in rooms._rooms.values():
                    assert places.participants.of(place.name) <= len(everyone(place)) and not place.arriving
    assert not Steps.alive
    assert waited, "nobody's network was lost while it was watched"
