"""The limits of rooms and sessions as a client meets them, and that every place is given back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from fastapi import FastAPI

from benchmarks.shared.peers import FakeEnhancer
from server import problems
from server.access.access import load_access
from server.media.aiortc_door import PeerTransport
from server.media.negotiation import InvalidOffer, Offer
from server.observability.metrics import Metrics
from server.rooms import rooms as rooms_module
from server.rooms.participant import Participant
from server.rooms.room import NameTaken, Room
from server.rooms.rooms import NotFound, Rooms
from server.rooms.routes import router
from server.rooms.watcher import Absence
from server.settings import Settings
from tests.unit.enhancer_stage import ANN, Clock
from tests.unit.test_negotiation import offer, section
from tests.unit.test_people import photo_of

SDP = {"content-type": "application/sdp"}


async def offered(direction: str, *kinds: str) -> str:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in kinds:
        pc.addTransceiver(kind, direction)
    await pc.setLocalDescription(await pc.createOffer())
    sdp = pc.localDescription.sdp
    await pc.close()
    return sdp


class Relay:
    def __init__(self, clock: Any, **settings: Any) -> None:
        self.metrics = Metrics()
        self.settings = Settings(_env_file=None, **{"open": True} | settings)
        options = {"clock": clock} if clock else {}
        self.rooms = Rooms(self.settings, self.metrics, enhancer_factory=lambda people: FakeEnhancer(), **options)
        self.places = self.rooms.limits.admission
        self.http: httpx.AsyncClient

    async def publish(self, room: str, name: str, sdp: str) -> httpx.Response:
        return await self.http.post(f"/whip/{room}/{name}", content=sdp, headers=SDP)

    async def watch(self, room: str, name: str, sdp: str) -> httpx.Response:
        return await self.http.post(f"/whep/{room}/{name}", content=sdp, headers=SDP)

    def refused(self, reason: str) -> float:
        return self.metrics.registry.get_sample_value("hime_refused_total", {"reason": reason}) or 0.0

    async def settle(self) -> None:
        """Until whoever leaves has left."""
        for room in list(self.rooms._rooms.values()):
            await room._leaving.ended()
        for _ in range(10):  # sessions whose request was given up while they were closed
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(clock: Any = None, **settings: Any) -> AsyncIterator[Relay]:
    relay, app = Relay(clock, **settings), FastAPI()
    app.state.relay = SimpleNamespace(
        settings=relay.settings, access=load_access(relay.settings), metrics=relay.metrics, rooms=relay.rooms
    )
    problems.install(app)
    app.include_router(router)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as relay.http:
        yield relay
        await relay.rooms.close()
    assert (relay.places.participants.taken, relay.places.streams.taken, relay.places.watchers.taken) == (0, 0, 0)


def is_problem(answer: httpx.Response, status: int, says: str) -> bool:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    if status == 503:
        assert int(answer.headers["retry-after"]) > 0
    return True


# --- each limit


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


async def test_offers_of_one_address_are_limited() -> None:
    async with serving(sessions_per_minute=3) as relay:
        for _ in range(3):
            assert (await relay.publish("r", "ann", "no offer")).status_code == 400
        answer = await relay.watch("r", "ann", "no offer")
        assert is_problem(answer, 429, "at most 3 a minute") and answer.headers["retry-after"] == "20"
        assert relay.refused("sessions") == 1


@pytest.mark.parametrize(
    ("settings", "sdp", "says"),
    [
        ({"max_sdp_bytes": 5000}, offer(section()) + "a=x:" + "x" * 5000, "at most 5000 bytes"),
        ({"max_sdp_lines": 60}, offer(section()) + "a=x\r\n" * 60, "at most 60 lines"),
        ({"max_sdp_lines": 60}, offer(section()) + "a=x\u2028" * 60, "at most 60 lines"),
        ({}, offer(section() + "a=rtpmap:97 VP8/90000\r\n" * 128), "at most 128"),
        ({"max_sdp_sections": 2}, offer(*(section(mid=str(n)) for n in range(3))), "at most 2"),
    ],
)
async def test_offers_are_bounded(settings: dict[str, int], sdp: str, says: str) -> None:
    async with serving(**settings) as relay:
        assert is_problem(await relay.publish("r", "ann", sdp), 413, says)
        assert relay.refused("sdp") == 1


def candidates(number: int, start: int = 0) -> str:
    lines = (
        f"a=candidate:{n} 1 udp 2113937151 192.0.2.{9 + n % 200} {5000 + n} typ host\r\n" for n in range(start, number)
    )
    return "".join(lines)


async def test_candidates_are_limited_offered_and_trickled_ones_together() -> None:
    async with serving(max_candidates=20, max_patches=3) as relay:
        answer = await relay.publish("r", "ann", offer(section("audio")) + candidates(20))
        assert is_problem(answer, 429, "at most 20 candidates") and relay.refused("candidates") == 1
        answer = await relay.publish("r", "ann", offer(section("audio")) + candidates(10))
        assert answer.status_code == 201
        patch = {"content-type": "application/trickle-ice-sdpfrag", "if-match": answer.headers["etag"]}
        at = answer.headers["location"]

        async def trickle(text: str) -> httpx.Response:
            return await relay.http.patch(at, content=f"a=ice-ufrag:abcd\r\n{text}", headers=patch)

        assert is_problem(await trickle(candidates(40, 10)), 429, "at most 20 candidates")
        assert (await trickle(candidates(15, 5))).status_code == 204  # some of which are known
        (one,) = relay.rooms._rooms["r"].participants.values()
        assert len(one.session._transport._ice.connection.remote_candidates) == 16
        assert (await trickle("a=end-of-candidates\r\n")).status_code == 204
        assert is_problem(await trickle("a=end-of-candidates\r\n"), 429, "At most 3 requests")
        assert relay.refused("candidates") == 3


async def test_candidates_that_may_not_be_checked_are_left_out_and_counted() -> None:
    local = "a=candidate:9 1 udp 1 127.0.0.1 5000 typ host\r\na=candidate:8 1 udp 1 169.254.169.254 80 typ host\r\n"
    for host, taken in (("127.0.0.1", {"192.0.2.5", "127.0.0.1"}), ("0.0.0.0", {"192.0.2.5"})):
        async with serving(host=host) as relay:
            assert (await relay.publish("r", "ann", offer(section("audio")) + local)).status_code == 201
            (one,) = relay.rooms._rooms["r"].participants.values()
            remote = one.session._transport._ice.connection.remote_candidates
            assert {candidate.host for candidate in remote} == taken
            assert relay.refused("candidate_address") == 3 - len(taken)


# --- no place is lost


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


# --- memory


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
