"""Keeps exemplar photos: sealed rows in a database, sealed pictures in files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sqlalchemy import ColumnExpressionArgument, delete, func, select, update
from sqlalchemy.orm import Session

from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import Box
from server.exemplars.audit import ANONYMOUS, RELAY, Action, AuditLog
from server.exemplars.cipher import Keyring
from server.exemplars.consent import OF_API
from server.exemplars.errors import KeyUnavailable, SchemaTooNew, StorageError, StoreFull
from server.exemplars.photo import (
    StoredPhoto,
    exemplar_of,
    face_of,
    jpeg_of,
    open_picture,
    open_row,
    seal_face,
    seal_picture,
)
from server.exemplars.rotation import seal_plain_files
from server.exemplars.schema import PhotoRow
from server.exemplars.storage import Storage
from server.settings import Settings

__all__ = ["KeyUnavailable", "PhotoStore", "SchemaTooNew", "StorageError", "StoreFull", "StoredPhoto"]

UNFINISHED_SECONDS = 600.0  # after a crash, what was half written is purged when this has passed
BANK_PHOTOS = 16  # a bank holds no more
DAY = 86400.0


class PhotoStore:
    """Blocking and thread-safe. It opens on first use, so that storage may come up after the relay.

    Methods raise StorageError where the database, the files or their key fail. actor: who asked, for the audit log.
    clock: Unix seconds; monotonic: the clock that exemplars' ages are counted by.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._clock, self._monotonic = settings, clock, monotonic
        self._storage = Storage(settings)
        self._audit = AuditLog(self._storage)

    def check(self) -> None:
        """Raises StorageError where photos could not be stored now, or some that are kept could not be read."""
        known = ["", *self._storage.keyring.ids]
        with self._storage.session() as session:
            lost = session.scalars(select(func.count()).where(PhotoRow.stored, PhotoRow.key.not_in(known))).one()
        self._storage.files.check()
        if lost:
            raise KeyUnavailable(f"some photos ({lost}) are encrypted with a key that is not given")

    def add(
        self,
        person: str,
        exemplars: Sequence[tuple[Exemplar, Box]],
        expires_at: float,
        actor: str = ANONYMOUS,
        wording: str = OF_API,
    ) -> list[StoredPhoto]:
        """Stores exemplars of a person who consented now, each with its box in the uploaded photo; all or none.

        wording: the name of what was consented to. Raises StoreFull.
        """
        now, name, keyring = self._clock(), self._storage.pseudonyms.of(person), self._storage.keyring
        photos = [StoredPhoto(one.id, now, expires_at, face_of(one, box)) for one, box in exemplars]
        ids = [photo.id for photo in photos]
        pictures = {one.id: seal_picture(jpeg_of(one), one.id, keyring) for one, _ in exemplars}
        with self._storage.session() as session:
            most = self._settings.max_photos_per_person
            kept = session.scalars(select(func.count()).where(PhotoRow.person == name, PhotoRow.expires_at > now)).one()
            if kept + len(ids) > most:
                raise StoreFull(f"at most {most} photos of one person are kept, and {kept} are")
            session.add_all(_unfinished(photo, name, keyring) for photo in photos)
        try:
            with self._storage.session() as session:
                # Nobody erases these rows while the transaction holds them, so no file is left without one.
                held = select(PhotoRow.id).where(PhotoRow.id.in_(ids), PhotoRow.expires_at > self._clock())
                if len(session.scalars(held.order_by(PhotoRow.id).with_for_update()).all()) < len(ids):
                    raise StorageError("the photos were deleted while they were stored")
                for id, picture in pictures.items():
                    self._storage.files.write(id, picture)
                finished = update(PhotoRow).where(PhotoRow.id.in_(ids))
                session.execute(finished.values(stored=True, expires_at=expires_at))
                terms = {"expires_at": expires_at, "wording": wording}
                for id in ids:
                    self._audit.record(session, now, "consent", actor, name, id, terms)
        except BaseException:
            self._expire(PhotoRow.id.in_(ids))
            self._erase(ids)
            raise
        return photos

    def photos_of(self, person: str, actor: str = ANONYMOUS) -> list[StoredPhoto]:
        """The photos that count, oldest first."""
        return self._read(person, "list", actor)

    def picture(self, person: str, id: str, actor: str = ANONYMOUS) -> bytes | None:
        """The JPEG that is kept of a photo, or None where there is none."""
        with self._storage.session() as session:
            row = session.scalar(select(PhotoRow).where(PhotoRow.id == id, *self._valid(person)))
            if row is None or (picture := self._picture(row)) is None:
                return None
            self._audit.record(session, self._clock(), "view", actor, row.person, id)
            return picture

    def exemplars_of(self, person: str, actor: str = ANONYMOUS) -> list[Exemplar]:
        """What a new stream of the person starts with: the latest photos, oldest first."""
        now, found = self._monotonic(), []
        for photo in self._read(person, "use", actor)[-BANK_PHOTOS:]:
            with self._storage.session() as session:
                row = session.scalar(select(PhotoRow).where(PhotoRow.id == photo.id, *self._valid(person)))
            if row is not None and (picture := self._picture(row)) is not None:
                found.append(exemplar_of(photo, picture, now))
        return found

    def remove(self, person: str, id: str | None = None, actor: str = ANONYMOUS) -> list[str]:
        """Deletes one photo, or all of a person; the ids of those that counted or were being stored.

        They stop counting before the first file goes. What then cannot be erased is erased by a later purge.
        """
        name = self._storage.pseudonyms.of(person)
        chosen = [PhotoRow.person == name, PhotoRow.expires_at > self._clock()]
        if id is not None:
            chosen.append(PhotoRow.id == id)
        ids = self._expire(*chosen, by=(name, actor, id))
        self._erase(ids)
        return ids

    def expired(self) -> list[str]:
        """The ids of photos that a purge would erase."""
        with self._storage.session() as session:
            return list(session.scalars(select(PhotoRow.id).where(PhotoRow.expires_at <= self._clock())))

    def purge(self) -> list[str]:
        """Erases all that has expired, and audit entries that are too old; the ids of the photos.

        Photos that an earlier version left unencrypted are sealed by the way.
        """
        now, ids = self._clock(), self.expired()
        try:
            self._erase(ids)
        finally:  # one file that cannot be erased keeps nothing else from its end
            self._audit.purge(now - self._settings.audit_days * DAY)
            self._storage.files.sweep(now - UNFINISHED_SECONDS)
            seal_plain_files(self._storage)
        return ids

    def close(self) -> None:
        self._storage.close()

    def _valid(self, person: str) -> tuple[ColumnExpressionArgument[bool], ...]:
        name = self._storage.pseudonyms.of(person)
        return PhotoRow.person == name, PhotoRow.stored, PhotoRow.expires_at > self._clock()

    def _read(self, person: str, action: Action, actor: str) -> list[StoredPhoto]:
        with self._storage.session() as session:
            order = (PhotoRow.created_at, PhotoRow.id)
            rows = session.scalars(select(PhotoRow).where(*self._valid(person)).order_by(*order)).all()
            photos = [open_row(row, self._storage.keyring) for row in rows]
            if rows:
                self._audit.record(session, self._clock(), action, actor, rows[0].person)
        return photos

    def _picture(self, row: PhotoRow) -> bytes | None:
        stored = self._storage.files.read(row.id)
        return None if stored is None else open_picture(stored, row, self._storage.keyring)

    def _expire(
        self, *chosen: ColumnExpressionArgument[bool], by: tuple[str, str, str | None] | None = None
    ) -> list[str]:
        """by: the person's pseudonym, the actor, and which photo alone, where somebody deletes."""
        with self._storage.session() as session:
            ids = list(session.scalars(select(PhotoRow.id).where(*chosen).order_by(PhotoRow.id).with_for_update()))
            session.execute(update(PhotoRow).where(PhotoRow.id.in_(ids)).values(expires_at=0.0))
            if by is not None:
                name, actor, id = by
                if id is None:
                    self._audit.record(session, self._clock(), "forget", actor, name)
                for one in ids:
                    self._audit.record(session, self._clock(), "delete", actor, name, one)
        return ids

    def _erase(self, ids: Sequence[str]) -> None:
        """Files before rows, so that no file is ever without a row that leads to it."""
        failure: StorageError | None = None
        for id in ids:
            try:
                with self._storage.session() as session:
                    self._erase_one(session, id)
            except StorageError as error:
                failure = error
        if ids:
            self._storage.checkpoint()
        if failure is not None:
            raise failure

    def _erase_one(self, session: Session, id: str) -> None:
        """The row's deletion holds it, and counts only once the file is gone."""
        now = self._clock()
        expired = delete(PhotoRow).where(PhotoRow.id == id, PhotoRow.expires_at <= now)
        row = session.execute(expired.returning(PhotoRow.person, PhotoRow.stored, PhotoRow.expires_at)).first()
        if row is None:
            return
        self._storage.files.remove(id)
        if row.stored and row.expires_at > 0:  # nobody deleted it: its time was over
            self._audit.record(session, now, "expire", RELAY, row.person, id)


def _unfinished(photo: StoredPhoto, person: str, keyring: Keyring) -> PhotoRow:
    return PhotoRow(
        id=photo.id,
        person=person,
        created_at=photo.created_at,
        expires_at=photo.created_at + UNFINISHED_SECONDS,
        stored=False,
        key=keyring.newest,
        sealed=seal_face(photo.face, photo.id, person, keyring),
    )
