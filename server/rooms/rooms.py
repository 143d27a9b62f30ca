"""All rooms of one relay: sessions are made and found here, and lost ones noticed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from aiortc import RTCIceServer

from hime_core.compositing.layout import Layout, View
from hime_core.faces.damage import DamageEstimator
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer, EnhancerConfig
from server.limits import Limits
from server.limits.admission import Admitted, no_more_rooms
from server.load.load import Load
from server.media.ice_connection import Network
from server.media.ice_servers import IceServers
from server.media.negotiation import InvalidOffer, Offer
from server.media.rules import SessionRules
from server.media.send.bitrate import Bitrates
from server.media.send.encoder import Codec, Encoding, find_h264
from server.media.session import Session
from server.media.sockets import sockets_for
from server.observability.metrics import Metrics
from server.rooms.checks import Checks
from server.rooms.events import Event, Listening
from server.rooms.participant import Content, Participant
from server.rooms.room import Room
from server.rooms.streams import StreamTold, streams_of
from server.rooms.sweep import Sweep
from server.settings import Settings
from server.standins import FailedDetector, FailedEngine
from server.supervision import Tasks, supervised

if TYPE_CHECKING:  # the engine brings torch with it
    from hime_core.engine import Engine
    from hime_core.faces.detector import StreamDetector
    from hime_core.faces.recognition import Recogniser
    from server.exemplars.store import PhotoStore


class NotFound(LookupError):
    """There is no such participant or session; the message says which."""


class Rooms:
    """Rooms come with the first who publishes or listens, and go with the last, or when nobody who was known there is
    remembered any longer. For one event loop's thread."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        engine: Engine | None = None,
        detector: StreamDetector | None = None,
        photos: PhotoStore | None = None,
        enhancer_factory: Callable[[People], Enhancer] | None = None,
        clock: Callable[[], float] = time.monotonic,
        recogniser: Recogniser | None = None,
        limits: Limits | None = None,
        load: Load | None = None,
    ) -> None:
        """enhancer_factory: makes one stream's enhancer; without it, they are made of the engine, the detector and the
        recogniser. engine, detector: None for stand-ins that enhance nothing. limits: as the settings say where it is
        None. load: None: nobody steps down, whatever the machine has to do."""
        self._load = load
        self.limits = limits or Limits(settings, metrics.refused, clock=clock)
        self._rules = SessionRules.of(settings, metrics.refused)
        self._most_rooms = settings.max_rooms
        self._most_views = settings.max_views_per_participant
        self._patience, self._reconnect = settings.first_media_timeout_s, settings.reconnect_s
        self._metrics = metrics
        self._engine: Engine = FailedEngine() if engine is None else engine
        self._detector: StreamDetector = FailedDetector() if detector is None else detector
        self._recogniser = recogniser
        self._remember = settings.remember_s
        self._damage: DamageEstimator | None = None  # made with the first enhancer
        self._photos = photos
        self._config = EnhancerConfig(patience=settings.frame_deadline_ms / 1000, references=settings.references)
        self._make_enhancer = enhancer_factory or self._enhancer
        self._clock = clock
        self.ice_servers = IceServers(
            settings.ice_servers, settings.turn_secret.get_secret_value(), 60 * settings.turn_minutes
        )
        self._network = Network(sockets_for(*settings.ports), settings.announced_address)
        bitrates = Bitrates(settings.video_min_bitrate, settings.video_start_bitrate, settings.video_max_bitrate)
        h264 = find_h264()
        hardware = h264 != "libx264"
        preferred: Codec = {"vp8": "VP8", "h264": "H264", "auto": "H264" if hardware else "VP8"}[settings.video_codec]
        self._encoding = Encoding(bitrates, h264, preferred)
        self.ends_in: Callable[[], float | None] = lambda: None  # seconds; None while the relay is not about to end
        self.checks = Checks(self._session, self.limits.admission)
        self.numbers: Iterator[int] = count(1)  # of the streams to come
        self._rooms: dict[str, Room] = {}
        self._sweep = Sweep(self._rooms, metrics, settings.max_remembered, clock)
        self._sweeping: asyncio.Task[None] | None = None
        self._giving_up = Tasks("a room of another relay")

    def get(self, room: str) -> Room | None:
        """The room, if anybody is in it or listens to it."""
        found = self._rooms.get(room)
        return None if found is None or found.idle else found

    def people_with(self, person: str) -> list[People]:
        """Those of running and remembered streams which that registered person is expected in."""
        everyone = (people for room in self._rooms.values() for people in room.all_people())
        return [people for people in everyone if person in people.names()]

    def persons(self) -> set[str]:
        """The registered people whom running and remembered streams expect."""
        return {name for room in self._rooms.values() for people in room.all_people() for name in people.names()}

    def photos_in_use(self, person: str) -> set[str]:
        """The ids of that person's photos in running and remembered streams."""
        return {id for people in self.people_with(person) for id in people.photos(person)}

    def give_up(self, room: str) -> bool:
        """Ends all that goes on in a room that is another relay's, events too, so that all comes together there; False
        where it is not here, or somebody is just being answered."""
        place = self._rooms.get(room)
        if place is None or place.arriving:
            return False
        del self._rooms[room]
        place.remembered.forget_all()
        self._giving_up.run(place.close())
        self._sweep.count_streams()
        return True

    def forget_photos(self, exemplar_ids: Iterable[str]) -> None:
        """Running and remembered streams drop these photos, and those of them that are still being read."""
        ids = list(exemplar_ids)
        for room in self._rooms.values():
            room.forget_photos(ids)

    def forget_person(self, person: str) -> None:
        """Running and remembered streams drop all that they may know of a registered person."""
        for people in self.people_with(person):
            people.forget_name(person)

    async def publish(
        self,
        room: str,
        name: str,
        subject: str,
        offer: Offer,
        persons: Sequence[str] = (),
        content: Content = "camera",
    ) -> Session:
        """Answers a publisher. Where the same subject has the name already, the new one takes it over as soon as its
        media comes; who watches goes on with it, as where the subject's network was lost. persons: whose registered
        photos are used; content: what the picture is of.

        Raises InvalidOffer, TooMany, NameTaken where another subject has the name, and Problem 503 where there is no
        room for it.
        """
        if not offer.sends:
            raise InvalidOffer("The offer sends neither audio nor video: one of its sections must be sendonly.")
        video = "video" in offer.sends
        photos = self._photos
        photos_of = None if photos is None else (lambda person: photos.exemplars_of(person, subject))
        with self._arriving(room, name, subject, video) as (place, admitted):
            people = place.people_for(name)
            enhancer = await asyncio.to_thread(self._make_enhancer, people) if video else None
            session = self._session(subject)
            participant = Participant(
                name,
                people,
                session,
                enhancer,
                self._metrics,
                self._encoding,
                self._clock,
                persons,
                photos_of,
                admitted,
                self._most_views,
                content,
                self._load,
            )
            participant.number = next(self.numbers)
            try:
                await session.publish(offer, participant.video, participant.audio)
                entered = place.enter(participant)
            except BaseException:
                await asyncio.shield(asyncio.ensure_future(participant.close()))  # goes on where this is given up too
                raise
        if entered:
            await participant.photos_added()
        self._sweep.count_streams()
        return session

    async def watch(
        self, room: str, name: str, subject: str, offer: Offer, view: View, layout: Layout, shown: int | None = None
    ) -> Session:
        """Answers a watcher of a participant. subject: of the watcher; shown: pixels of the longer side that it shows.

        Raises NotFound, InvalidOffer, TooMany, and Problem 503 where there is no room for it.
        """
        if not offer.receives:
            raise InvalidOffer("The offer receives neither audio nor video: one of its sections must be recvonly.")
        place, participant = self._find(room, name)
        with self.limits.admission.watcher(room, name) as admitted:
            session = self._session(subject)
            session.on_over = lambda: place.stop_watching(name, session.id)
            session.on_closed = admitted.release
            try:
                await participant.watch(session, offer, view, layout, shown)
            except BaseException:
                place.stop_watching(name, session.id)
                raise
        if place.watcher(name, session.id) is None:  # whom it watches left while the answer was made
            await session.close()
            raise NotFound("The participant has left.")
        self._sweep.count_streams()
        return session

    def publication(self, room: str, name: str, session: str) -> Session:
        """Raises NotFound."""
        place = self._rooms.get(room)
        found = (place.publisher(name, session) or place.absence(name, session)) if place else None
        if found is None:
            raise NotFound("There is no such session.")
        return found.session

    def subscription(self, room: str, name: str, session: str) -> Session:
        """Raises NotFound."""
        place = self._rooms.get(room)
        found = place.watcher(name, session) if place else None
        if found is None:
            raise NotFound("There is no such session.")
        return found

    def end(self, room: str, name: str, session: Session) -> None:
        """Ends a publication or a subscription that was found before."""
        place = self._rooms[room]
        if publisher := place.publisher(name, session.id):
            place.leave(publisher)
        elif place.absence(name, session.id):
            place.give_up(name)
        else:
            place.stop_watching(name, session.id)
        self._sweep.count_streams()

    def listen(self, room: str) -> Listening:
        """A place among the room's listeners, to be released. Raises Problem 503 where there is none."""
        left = self.ends_in()
        with self.limits.admission.listener(room) as place:
            return Listening(self._room(room).events([] if left is None else [_draining(left)]), place)

    def streams(self, may_see: Callable[[str], bool] = lambda room: False) -> list[StreamTold]:
        """Those that run. may_see: whether the names in a room may be told."""
        return streams_of(self._rooms.values(), may_see)

    @property
    def everywhere(self) -> list[Room]:
        """All rooms, also those that nobody is in."""
        return list(self._rooms.values())

    @property
    def anyone(self) -> bool:
        """Whether somebody is in a room, or about to be."""
        return any(room.participants or room.arriving for room in self._rooms.values())

    def tell_of_end(self) -> None:
        """Everyone who listens learns when the relay ends; who begins to listen later learns it first of all."""
        if (left := self.ends_in()) is not None:
            for room in self._rooms.values():
                room.tell(_draining(left))

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await asyncio.gather(self.checks.close(), *(room.close() for room in self._rooms.values()))
        await self._giving_up.ended()
        self._rooms.clear()
        self._network.sockets.close()

    def _session(self, subject: str) -> Session:
        servers = tuple(RTCIceServer(one.urls, one.username, one.credential) for one in self.ice_servers.issue())
        network = replace(self._network, servers=servers)
        return Session(network, self._encoding, self._clock, subject, self._rules)

    @contextmanager
    def _arriving(self, room: str, name: str, subject: str, video: bool) -> Iterator[tuple[Room, Admitted]]:
        """A publisher's places, and its room, which stays meanwhile. Raises NameTaken, and Problem 503, before anything
        is awaited."""
        there = self._rooms.get(room)
        if there is not None:
            there.check_free(name, subject)
        before = there.participants.get(name) if there else None
        with self.limits.admission.publisher(room, video, before.admitted if before else None) as admitted:
            place = self._room(room)
            place.arriving += 1
            try:
                yield place, admitted
            finally:
                place.arriving -= 1

    def _room(self, name: str) -> Room:
        """The room, new where there is none. Raises Problem 503 where there are too many."""
        if self._sweeping is None:
            work = supervised("sweep", self._sweep.run, self._metrics.failure)
            self._sweeping = asyncio.create_task(work, name="rooms")
        if name not in self._rooms:
            self._make_place()
            self._rooms[name] = Room(
                name,
                self._remember,
                self._new_people,
                self._clock,
                self._patience,
                self._reconnect,
                self._rules.connect_timeout,
            )
        return self._rooms[name]

    def _make_place(self) -> None:
        """For a new room, where need be by forgetting whom an empty one remembers. Raises Problem 503."""
        if len(self._rooms) < self._most_rooms:
            return
        empty = [
            (room.remembered.left[-1:], name) for name, room in self._rooms.items() if room.idle and not room.arriving
        ]
        if not empty:
            self.limits.refused("rooms")
            raise no_more_rooms(self._most_rooms)
        room = self._rooms.pop(min(empty)[1])
        room.remembered.forget_all()

    def _find(self, room: str, name: str) -> tuple[Room, Participant]:
        place = self._rooms.get(room)
        participant = place.participants.get(name) if place else None
        if place is None or participant is None:
            raise NotFound("There is no such participant in the room.")
        return place, participant

    def _new_people(self) -> People:
        return People(self._engine.forget, self._clock, self._metrics.bank_decision)

    def _enhancer(self, people: People) -> Enhancer:
        self._damage = self._damage or DamageEstimator()
        return Enhancer(
            self._engine,
            self._detector.for_stream(),
            people,
            self._config,
            self._clock,
            self._metrics.stage,
            self._damage,
            recogniser=self._recogniser,
            on_recognition=self._metrics.recognition,
        )


def _draining(seconds: float) -> Event:
    return Event("draining", {"seconds": round(seconds, 1)})
