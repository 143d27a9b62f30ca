"""Registers photos of people and forgets them, in storage, in the engine and in running calls alike."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from hime_core.arrays import Array
from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import Box
from server.exemplars.audit import ANONYMOUS, RELAY
from server.exemplars.consent import OF_API
from server.exemplars.elsewhere import Elsewhere, Nowhere
from server.exemplars.errors import StorageError, StoreFull
from server.exemplars.photo import StoredPhoto
from server.exemplars.store import PhotoStore
from server.exemplars.upload import Photo, read_photo
from server.limits.rates import Count, uncounted
from server.problems import Problem
from server.settings import Settings

if TYPE_CHECKING:
    from hime_core.engine import Engine
    from hime_core.faces.detector import Detection, StreamDetector
    from hime_core.faces.recognition import Recogniser
    from server.rooms.rooms import Rooms

DAY = 86400.0
MAX_WAITING = 4  # requests that hold their photos in memory

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Examined:
    """One uploaded photo: the exemplar and the face's box in the photo's upright pixels, or why there is none."""

    id: str
    exemplar: Exemplar | None = None
    box: Box | None = None
    reason: str | None = None
    kind: str | None = None  # of the reason: of UNUSABLE, or another_person


class ExemplarService:
    """Used from the event loop; decoding, detection and storage run in one worker thread."""

    def __init__(
        self,
        settings: Settings,
        store: PhotoStore,
        engine: Engine,
        detector: StreamDetector,
        rooms: Rooms,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        recogniser: Recogniser | None = None,
        refused: Count = uncounted,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """recogniser: tells whether photos show one person; without it, they are taken as they come. refused: counts
        what is over a limit; also called by the worker thread. elsewhere: the other processes of the relay; None: there
        are none."""
        self._elsewhere = elsewhere or Nowhere()
        self._settings, self._store, self._recogniser = settings, store, recogniser
        self._engine, self._detector, self._rooms = engine, detector, rooms
        self._clock, self._monotonic = clock, monotonic
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="photos")
        self._changing = asyncio.Lock()  # storage and running calls change together
        self._waiting = 0
        self._refused = refused

    async def register(
        self,
        person: str,
        photos: Sequence[Callable[[], Awaitable[bytes]]],
        expires_days: int | None,
        actor: str = ANONYMOUS,
        wording: str = OF_API,
    ) -> tuple[list[Examined], list[StoredPhoto]]:
        """Examines photos (each a function that reads the file), stores the usable ones, hands them to calls.

        Those that show somebody else than the photos that are kept are refused. actor: who asks, for the audit log;
        wording: what was consented to.

        Raises Problem: 413, 415, 422 (they show two people), 409 (too many of this person), 503 (busy, or storage
        fails).
        """
        if self._waiting >= MAX_WAITING:
            self._refused("photos_waiting")
            raise Problem(
                503, "Other photos are being examined; try again shortly.", {"Retry-After": "10"}, kind="photos-busy"
            )
        self._waiting += 1
        try:
            files = [await read() for read in photos]
            examined = await self._work(lambda: self._examine(files))
        finally:
            self._waiting -= 1
        if not _usable(examined):
            return examined, []
        expires_at = self._clock() + (expires_days or self._settings.exemplar_expires_days) * DAY
        async with self._changing:
            examined = await self._work(lambda: self._compared(person, examined, actor))
            usable = _usable(examined)
            if not usable:
                return examined, []
            stored = await self._work(lambda: self._store.add(person, usable, expires_at, actor, wording))
            self._use([exemplar for exemplar, _ in usable], person)
            await self._elsewhere.added(person, [photo.id for photo in stored])
        return examined, stored

    async def use(self, person: str, ids: Sequence[str]) -> None:
        """Hands photos to calls here that another process has registered. Raises Problem 503."""
        async with self._changing:
            if self._rooms.people_with(person):
                kept = await self._work(lambda: self._store.exemplars_of(person, RELAY))
                self._use([exemplar for exemplar in kept if exemplar.id in ids], person)

    async def forget_here(self, person: str | None, ids: Sequence[str]) -> None:
        """Forgets photos in calls here that another process has deleted; with a person, all that is known of them."""
        async with self._changing:
            if person is not None:
                self._rooms.forget_person(person)
            self._forget_in_calls(list(ids))

    async def compare_with_storage(self) -> None:
        """Forgets in calls here what storage no longer has, as after deletions that this process was not told of. A
        person of whom it has nothing is forgotten whole. Raises Problem 503."""
        for person in self._rooms.persons():
            async with self._changing:
                kept = {photo.id for photo in await self._work(lambda: self._store.photos_of(person, RELAY))}  # noqa: B023
                gone = [id for id in self._rooms.photos_in_use(person) if id not in kept]
                if gone and not kept:
                    self._rooms.forget_person(person)
                self._forget_in_calls(gone)

    async def photos_of(self, person: str, actor: str = ANONYMOUS) -> list[StoredPhoto]:
        return await self._work(lambda: self._store.photos_of(person, actor))

    async def picture(self, person: str, id: str, actor: str = ANONYMOUS) -> bytes | None:
        return await self._work(lambda: self._store.picture(person, id, actor))

    async def forget(self, person: str, id: str, actor: str = ANONYMOUS) -> bool:
        """Deletes one photo everywhere; False where there is none."""
        try:
            async with self._changing:
                try:
                    return bool(await self._work(lambda: self._store.remove(person, id, actor)))
                finally:
                    self._forget_in_calls([id])
        finally:  # when changes here wait no longer: the others may be about to tell of theirs
            await self._elsewhere.forget(None, [id])

    async def forget_person(self, person: str, actor: str = ANONYMOUS) -> None:
        """Deletes all that is known of a person: photos, cached features, and what calls have gathered or remember."""
        ids: list[str] = []
        try:
            async with self._changing:
                try:
                    ids = await self._work(lambda: self._store.remove(person, actor=actor))
                finally:  # also where erasing fails: a photo that is to be deleted is not used again
                    self._rooms.forget_person(person)
                    self._forget_in_calls(ids)
        finally:
            await self._elsewhere.forget(person, ids)

    async def purge_forever(self) -> None:
        """Erases photos as they expire. To be started again when it raises."""
        while True:
            try:
                await self.purge()
            except Problem as problem:
                log.warning("expired photos could not be purged: %s", problem.detail)
            await asyncio.sleep(self._settings.purge_interval_s)

    async def purge(self) -> None:
        gone: set[str] = set()
        try:
            async with self._changing:
                for work in (self._store.expired, self._store.purge):  # though erasing may fail
                    ids = await self._work(work)
                    gone.update(ids)
                    self._forget_in_calls(ids)
        finally:
            if gone:
                await self._elsewhere.forget(None, sorted(gone))

    def close(self) -> None:
        self._worker.shutdown(cancel_futures=True)

    def _use(self, exemplars: Sequence[Exemplar], person: str) -> None:
        for people in self._rooms.people_with(person):
            for exemplar in exemplars:
                people.expect(person).bank.add_photo(exemplar)

    def _forget_in_calls(self, ids: list[str]) -> None:
        self._rooms.forget_photos(ids)
        self._engine.forget(ids)

    def _examine(self, files: Sequence[bytes]) -> list[Examined]:
        """All files are read before a face is sought in one, so that a wrong one costs no detection."""
        limits = self._settings.max_photo_bytes, self._settings.max_photo_pixels
        photos = [read_photo(data, number, *limits, self._refused) for number, data in enumerate(files, 1)]
        return [self._seek(photo) for photo in photos]

    def _seek(self, photo: Photo) -> Examined:
        from hime_core.exemplars.photos import UnusablePhoto, exemplar_from_photo

        id = secrets.token_hex(16)
        detector = _Watched(self._detector.for_stream())
        try:
            exemplar = exemplar_from_photo(photo.rgb, detector, id, self._monotonic())
        except UnusablePhoto as error:
            return Examined(id, reason=str(error), kind=error.kind)
        return Examined(id, exemplar, detector.box(photo.uploaded_width))

    def _compared(self, person: str, examined: list[Examined], actor: str) -> list[Examined]:
        """The same, less what shows somebody else than the photos that are kept. Raises Problem where none is kept and
        the new ones show more people than one: which of them is meant, nothing tells."""
        places = [place for place, photo in enumerate(examined) if photo.exemplar]
        new = [photo.exemplar for photo in examined if photo.exemplar]
        if self._recogniser is None:
            return examined
        try:
            return self._by_likeness(self._recogniser, self._store.exemplars_of(person, actor), examined, places, new)
        except (Problem, StorageError):
            raise
        except Exception:  # photos are worth more than their comparison
            log.exception("photos are taken without being compared: the recogniser failed")
            return examined

    def _by_likeness(
        self,
        recogniser: Recogniser,
        kept: Sequence[Exemplar],
        examined: list[Examined],
        places: Sequence[int],
        new: Sequence[Exemplar],
    ) -> list[Examined]:
        from hime_core.people.agreement import by_person, strangers

        if kept:
            reason = (
                f"the face is another person's than in the {_photos(len(kept))} kept under this name: a photo of the "
                "same person is needed, or another name"
            )
            refused = {places[at] for at in strangers(new, kept, recogniser)}
            return [
                replace(photo, exemplar=None, box=None, reason=reason, kind="another_person")
                if place in refused
                else photo
                for place, photo in enumerate(examined)
            ]
        shown = by_person(new, recogniser)
        if len(shown) > 1:
            numbers = " and ".join(_numbers([places[at] + 1 for at in group]) for group in shown)
            raise Problem(
                422,
                f"The photos show different people: {numbers} differ. One person's are registered under one name.",
                kind="different-people",
            )
        return examined

    async def _work(self, function: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, function)
        except StoreFull as error:
            self._refused("photos_per_person")
            raise Problem(409, f"The photos are not stored: {error}; delete some first.", kind="photos-full") from None
        except StorageError as error:
            detail = f"Photos cannot be stored or read now: {error}."
            raise Problem(503, detail, {"Retry-After": "10"}, kind="photos-unavailable") from None


def _usable(examined: Sequence[Examined]) -> list[tuple[Exemplar, Box]]:
    return [(photo.exemplar, photo.box) for photo in examined if photo.exemplar and photo.box]


def _photos(count: int) -> str:
    return "photo" if count == 1 else f"{count} photos"


def _numbers(numbers: Sequence[int]) -> str:
    """Photos by their numbers in the request: "photo 2", "photos 1, 3"."""
    return f"photo{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


class _Watched:
    """A detector that remembers what it found, for the answer's box."""

    def __init__(self, detector: StreamDetector) -> None:
        self._detector = detector
        self._found: list[Detection] = []
        self._width = 0

    def detect(self, rgb: Array) -> list[Detection]:
        self._found, self._width = self._detector.detect(rgb), rgb.shape[1]
        return self._found

    def box(self, width: int) -> Box:
        """The box of the largest face, in a photo of that width; the detector may have seen a smaller copy."""
        box = max((found.box for found in self._found), key=lambda box: box.height)
        scale = width / self._width
        return Box(box.x * scale, box.y * scale, box.width * scale, box.height * scale)
