"""One participant of a room: what it publishes, who watches it, and who is known in its picture."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

from hime_core.compositing.layout import Layout, View, width_class
from hime_core.exemplars.exemplar import Exemplar
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer
from server.limits.admission import RETRY_AFTER, Admitted
from server.load.load import Load
from server.media.negotiation import Offer
from server.media.pipeline import VideoPipeline
from server.media.send.encoder import Encoding
from server.media.send.tracks import AudioRelay
from server.media.session import Session
from server.memory import give_back_memory
from server.observability.metrics import Metrics
from server.problems import Problem
from server.rooms.bank import Bank, bank_of
from server.rooms.watcher import Watcher
from server.supervision import off_the_loop

log = logging.getLogger(__name__)

MOST_REFUSED = 3.0  # seconds in which all frames are left out, after which the session is ended
CLOSE_SECONDS = 20.0  # that the end of a stream's threads is waited for
STALLED = 0.5  # frames per second, below which a stream that was live is stalled
SILENT = 2.0  # seconds without a packet, after which a stream of sound alone is


# What a picture is of. A screen is passed on untouched: no face is looked for in it.
Content = Literal["camera", "screen"]


class FaceStats(TypedDict):
    """What becomes of a face in the picture. exemplars: those that it is enhanced with; reason: why it is not
    enhanced, as `hime_bypass_total` has it, None where it is."""

    exemplars: int
    reason: str | None


class ParticipantStats(TypedDict):
    """Rates in frames per second; outcomes: frames since the start; latency_ms: smoothed, None while unwatched;
    refused: why frames are left out now (pixels, size_changes, frame_rate), left out where none are; face: of the
    largest face in view, left out where none is; content: left out for a camera's picture."""

    fps_in: float
    fps_out: float
    state: Literal["live", "stalled"]
    outcomes: dict[str, int]
    latency_ms: float | None
    refused: NotRequired[str]
    face: NotRequired[FaceStats]
    content: NotRequired[Content]


class Participant:
    """Lives from the answer to its offer until it leaves. people: who is known in its picture; they may outlive it.
    admitted: its places, which it gives back when all of it has ended.

    Between the answer and start(), it waits for its name: it takes media, and does nothing with it.
    """

    def __init__(
        self,
        name: str,
        people: People,
        session: Session,
        enhancer: Enhancer | None,
        metrics: Metrics,
        encoding: Encoding,
        clock: Callable[[], float] = time.monotonic,
        persons: Sequence[str] = (),
        photos_of: Callable[[str], Sequence[Exemplar]] | None = None,
        admitted: Admitted | None = None,
        most_views: int = 12,
        content: Content = "camera",
        load: Load | None = None,
    ) -> None:
        """enhancer: None without video. persons: whose registered photos its stream uses; photos_of: reads them, not in
        the event loop's thread. most_views: that are watched at a time, each layout and width by itself. on_media may
        be set: called when the first frame or packet has come. content: what the picture is of. load: the machine's,
        which the stream is a part of until it is closed."""
        loop = asyncio.get_running_loop()
        self.admitted = admitted or Admitted({})
        self._most_views = most_views
        self._content = content
        self._metrics, self._load = metrics, load
        self.on_media: Callable[[], None] = lambda: None
        self.name = name
        self.number = 0  # of the stream, by which it is told of without its name
        self.people = people
        self.session = session
        self.enhancer = enhancer
        self.watchers: dict[str, Watcher] = {}  # by their session's id
        self.joined = False
        self._heard = False  # whether anything came that can be used
        self._persons, self._photos_of = persons, photos_of
        self._clock, self._began = clock, clock()
        self._reading: asyncio.Task[None] | None = None
        self._deleted: set[str] | None = None  # while photos are being read: the ids of those that were deleted
        self._stopped = False
        self.video: VideoPipeline | None = None
        if enhancer is not None:

            def first_frame_came() -> None:
                loop.call_soon_threadsafe(self._picture_came)

            self.video = VideoPipeline(
                enhancer,
                metrics,
                first_frame_came,
                encoding,
                clock=clock,
                untouched=content == "screen",
                load=load.join() if load else None,
            )
        self.audio = AudioRelay(on_first_packet=self._sound_came, clock=clock)

    async def watch(self, session: Session, offer: Offer, view: View, layout: Layout, shown: int | None = None) -> None:
        """Answers a watcher's offer, who is one of `watchers` from here on. shown: pixels of the longer side that it
        shows.

        Raises InvalidOffer, and Problem 503 where too many different views are watched.
        """
        video = None
        if self.video is not None and "video" in offer.receives:
            self._check_views((view, layout, width_class(view, layout, shown)))
            video = self.video.watch(view, layout, shown)
        audio = self.audio.watch(video.audio_delay if video else lambda: 0.0) if "audio" in offer.receives else None
        self.watchers[session.id] = Watcher(session, view, layout, shown, video, audio)
        await session.watch(offer, video, audio)

    def hand_over(self) -> dict[str, Watcher]:
        """Who watches, by their session's id: for another participant to take on. Their tracks are released."""
        watchers, self.watchers = self.watchers, {}
        for one in watchers.values():
            one.release()
        return watchers

    def take_on(self, watchers: Mapping[str, Watcher]) -> None:
        """Goes on for who has watched the name before, with what they were answered. However many views that makes: who
        watched them then may watch them now."""
        self.watchers.update(watchers)
        for one in watchers.values():
            if one.video is not None and self.video is not None:
                self.video.watch(one.view, one.layout, one.shown, one.video)
            if one.audio is not None:
                self.audio.watch(track=one.audio)

    def _check_views(self, wanted: tuple[View, Layout, int | None]) -> None:
        if len({wanted, *(one.picture for one in self.watchers.values() if one.video is not None)}) > self._most_views:
            self._metrics.refused("views")
            raise Problem(
                503,
                f"Too many different views of this participant are watched: at most {self._most_views} are made. "
                "Take another view, layout or width, or try again later.",
                {"Retry-After": str(RETRY_AFTER)},
                kind="too-many-views",
                most=self._most_views,
                limit="HIME_MAX_VIEWS_PER_PARTICIPANT",
            )

    @property
    def subject(self) -> str:
        """Who publishes: nobody else takes its name."""
        return self.session.subject

    def start(self) -> None:
        """The name is this participant's now, and the people are its own to work on."""
        self._began = self._clock()
        self.people.expect_only(self._persons)
        if self.video is not None:
            self.video.start()
            if self._persons and self._photos_of is not None:
                self._reading = asyncio.create_task(self._add_all_photos(self._photos_of))

    async def photos_added(self) -> None:
        """Waits until the registered photos are there; at once where there are none."""
        if self._reading is not None:
            await asyncio.shield(self._reading)

    async def _add_all_photos(self, read: Callable[[str], Sequence[Exemplar]]) -> None:
        for person in self._persons:
            try:
                await self.add_photos(person, read)
            except Exception:
                log.exception("a stream starts without its registered photos")

    async def add_photos(self, person: str, read: Callable[[str], Sequence[Exemplar]]) -> None:
        """What the person's stream starts with, less what has been deleted while it was being read."""
        self._deleted = set()
        exemplars = await asyncio.to_thread(read, person)
        deleted, self._deleted = self._deleted, None
        if self._stopped or person not in self.people.names():
            return
        for exemplar in exemplars:
            if exemplar.id not in deleted:
                self.people.expect(person).bank.add_photo(exemplar)

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        """Drops these photos, and those of them that are being read."""
        ids = list(exemplar_ids)
        if self._deleted is not None:
            self._deleted.update(ids)
        self.people.forget(ids)

    def stop(self) -> None:
        """Takes no more frames; close() is still to follow."""
        self._stopped = True
        if self.video is not None:
            self.video.stop()

    async def close(self) -> None:
        """Ends every session and thread of the participant."""
        try:
            sessions = [self.session, *(one.session for one in self.watchers.values())]
            self.watchers.clear()
            await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)
            self.audio.close()
            if self.video is not None:
                self.video.end_tracks()
                await off_the_loop(self.video.close, CLOSE_SECONDS, "close-video")
                await off_the_loop(give_back_memory, CLOSE_SECONDS, "give-back-memory")
        finally:
            if self._load is not None and self.video is not None:
                self._load.leave(self.video.load)
            self.admitted.release()

    def refused_for_good(self, patience: float) -> str | None:
        """Why the session is to be ended, None where it is not: all frames have been left out for long, or nothing has
        come that can be used `patience` seconds from the answer (no_media)."""
        if self.video is not None and self.video.refusals.alone > MOST_REFUSED:
            return self.video.refusals.now
        return None if self._heard or self._clock() - self._began <= patience else "no_media"

    def stats(self) -> ParticipantStats:
        video = self.video
        if video is None:
            state: Literal["live", "stalled"] = (
                "stalled" if self._clock() - (self.audio.last_arrival or 0.0) > SILENT else "live"
            )
            return {"fps_in": 0.0, "fps_out": 0.0, "state": state, "outcomes": {}, "latency_ms": None}
        fps_in = video.rate_in.rate()
        stats: ParticipantStats = {
            "fps_in": round(fps_in, 1),
            "fps_out": round(video.rate_out.rate(), 1),
            "state": "live" if fps_in >= STALLED else "stalled",
            "outcomes": {name: video.outcomes[name] for name in ("enhanced", "carried", "passed", "dropped")},
            "latency_ms": None if video.latency is None else round(1000 * video.latency, 1),
        }
        if refused := video.refusals.now:
            stats["refused"] = refused
        if self._content != "camera":
            stats["content"] = self._content
        seen = self.enhancer.seen if self.enhancer else ()
        if largest := max(seen, key=lambda face: face.side, default=None):
            stats["face"] = {"exemplars": largest.exemplars, "reason": largest.reason}
        return stats

    def bank(self) -> Bank:
        """Who is known in the picture, and from what. Encodes JPEGs: not for the event loop's thread."""
        seen = self.enhancer.seen if self.enhancer else ()
        frame = self.video.frames if self.video else 0
        return bank_of(self.name, self.people, seen, frame, self._began, self._clock())

    def _picture_came(self) -> None:
        self._heard = True
        self.on_media()

    def _sound_came(self) -> None:
        self._heard = True
        if self.video is None:
            self.on_media()
