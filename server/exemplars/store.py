"""Keeps exemplar photos: rows in a database, pictures in files, both reached by URL."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from PIL import Image
from sqlalchemy import (
    JSON,
    ColumnElement,
    ColumnExpressionArgument,
    CursorResult,
    Engine,
    create_engine,
    delete,
    event,
    func,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from hime_core.exemplars.exemplar import Exemplar, resolution_of
from hime_core.faces.geometry import Box, Headshot

JPEG_QUALITY = 95
UNFINISHED_SECONDS = 600.0  # after a crash, what was half written is purged when this has passed
BANK_PHOTOS = 16  # a bank holds no more

log = logging.getLogger(__name__)


class StorageError(RuntimeError):
    """The database or the files cannot be used at the moment."""


class StoreFull(ValueError):
    """A person has as many photos as are kept of one."""


class Base(DeclarativeBase):
    pass


class StoredPhoto(Base):
    """One photo's row. Times are Unix seconds; box is [x, y, w, h] in the uploaded photo's upright pixels.

    The picture kept is the face's surroundings only; headshot and landmarks are in its pixels.
    A row counts once it is `stored`, and as long as it has not expired; deleting it begins with letting it expire.
    """

    __tablename__ = "exemplars"

    id: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[float]
    consent_at: Mapped[float]
    expires_at: Mapped[float] = mapped_column(index=True)
    stored: Mapped[bool]
    box: Mapped[list[float]] = mapped_column(JSON)
    headshot: Mapped[list[float]] = mapped_column(JSON)
    landmarks: Mapped[list[list[float]]] = mapped_column(JSON)
    sharpness: Mapped[float]
    yaw: Mapped[float]
    light: Mapped[float]


class PhotoStore:
    """Blocking and thread-safe. It opens on first use, so that storage may come up after the relay.

    Methods raise StorageError where the database or the files fail.
    clock: Unix seconds; monotonic: the clock that exemplars' ages are counted by.
    """

    def __init__(
        self,
        database_url: str,
        photos_url: str,
        max_per_person: int = 64,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database_url, self._photos_url = database_url, photos_url
        self._max_per_person = max_per_person
        self._clock, self._monotonic = clock, monotonic
        self._opening = threading.Lock()
        self._engine: Engine | None = None

    def check(self) -> None:
        """Raises StorageError where photos could not be stored now."""
        with self._session() as session:
            session.execute(select(func.count()).select_from(StoredPhoto))
            probe = f"{self._root}/probe-{os.getpid()}-{threading.get_ident()}"
            self._files.pipe_file(probe, b"")
            self._files.rm_file(probe)

    def add(self, person: str, exemplars: Sequence[tuple[Exemplar, Box]], expires_at: float) -> list[StoredPhoto]:
        """Stores exemplars of a person who consented now, each with its box in the uploaded photo; all or none.

        Raises StoreFull.
        """
        now = self._clock()
        rows = [
            StoredPhoto(
                id=exemplar.id,
                person=person,
                created_at=now,
                consent_at=now,
                expires_at=now + UNFINISHED_SECONDS,
                stored=False,
                box=[round(value, 1) for value in (box.x, box.y, box.width, box.height)],
                headshot=[
                    float(value) for value in (exemplar.headshot.cx, exemplar.headshot.cy, exemplar.headshot.side)
                ],
                landmarks=exemplar.landmarks.astype(float).tolist(),
                sharpness=float(exemplar.sharpness),
                yaw=float(exemplar.yaw),
                light=float(exemplar.light),
            )
            for exemplar, box in exemplars
        ]
        ids = [row.id for row in rows]
        with self._session() as session:
            kept = session.scalars(
                select(func.count()).where(StoredPhoto.person == person, StoredPhoto.expires_at > now)
            ).one()
            if kept + len(rows) > self._max_per_person:
                raise StoreFull(f"at most {self._max_per_person} photos of one person are kept, and {kept} are")
            session.add_all(rows)
        try:
            with self._session() as session:
                for exemplar, _ in exemplars:
                    self._write(exemplar)
                finished = update(StoredPhoto).where(StoredPhoto.id.in_(ids), StoredPhoto.expires_at > now)
                result = session.execute(finished.values(stored=True, expires_at=expires_at))
                # That an UPDATE gives a CursorResult, SQLAlchemy's annotations leave out.
                if cast("CursorResult[Any]", result).rowcount < len(ids):
                    raise StorageError("the photos were deleted while they were stored")
                return list(session.scalars(select(StoredPhoto).where(StoredPhoto.id.in_(ids))))
        except BaseException:
            self._expire(StoredPhoto.id.in_(ids))
            self._erase(ids)
            raise

    def photos_of(self, person: str) -> list[StoredPhoto]:
        """The photos that count, oldest first."""
        with self._session() as session:
            order = (StoredPhoto.created_at, StoredPhoto.id)
            return list(session.scalars(select(StoredPhoto).where(*self._valid(person)).order_by(*order)))

    def picture(self, person: str, id: str) -> bytes | None:
        """The JPEG that is kept of a photo, or None where there is none."""
        with self._session() as session:
            if session.scalar(select(StoredPhoto.id).where(StoredPhoto.id == id, *self._valid(person))) is None:
                return None
            try:
                picture: bytes = self._files.cat_file(self._path(id))
            except FileNotFoundError:
                return None
            return picture

    def exemplars_of(self, person: str) -> list[Exemplar]:
        """What a new stream of the person starts with: the latest photos, oldest first."""
        now = self._monotonic()
        found = []
        for row in self.photos_of(person)[-BANK_PHOTOS:]:
            if (picture := self.picture(person, row.id)) is not None:
                found.append(_exemplar(row, picture, now))
        return found

    def remove(self, person: str, id: str | None = None) -> list[str]:
        """Deletes one photo, or all of a person; the ids of those that counted or were being stored.

        They stop counting before the first file goes. What then cannot be erased is erased by a later purge.
        """
        chosen: list[ColumnElement[bool]] = [StoredPhoto.person == person, StoredPhoto.expires_at > self._clock()]
        if id is not None:
            chosen.append(StoredPhoto.id == id)
        ids = self._expire(*chosen)
        self._erase(ids)
        return ids

    def purge(self) -> list[tuple[str, str]]:
        """Erases all that has expired; (person, id) of each."""
        with self._session() as session:
            expired = select(StoredPhoto.person, StoredPhoto.id).where(StoredPhoto.expires_at <= self._clock())
            rows = [(person, id) for person, id in session.execute(expired)]
        self._erase([id for _, id in rows])
        return rows

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()

    def _valid(self, person: str) -> tuple[ColumnExpressionArgument[bool], ...]:
        return StoredPhoto.person == person, StoredPhoto.stored, StoredPhoto.expires_at > self._clock()

    def _expire(self, *chosen: ColumnExpressionArgument[bool]) -> list[str]:
        with self._session() as session:
            ids = list(session.scalars(select(StoredPhoto.id).where(*chosen)))
            session.execute(update(StoredPhoto).where(StoredPhoto.id.in_(ids)).values(expires_at=0.0))
            return ids

    def _erase(self, ids: Sequence[str]) -> None:
        """Files before rows, so that no file is ever without a row that leads to it."""
        failure: Exception | None = None
        for id in ids:
            try:
                with self._session() as session:
                    with suppress(FileNotFoundError):
                        self._files.rm_file(self._path(id))
                    session.execute(delete(StoredPhoto).where(StoredPhoto.id == id))
            except StorageError as error:
                failure = error
        if failure is not None:
            raise failure

    def _write(self, exemplar: Exemplar) -> None:
        buffer = BytesIO()
        Image.fromarray(exemplar.image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        path = self._path(exemplar.id)
        self._files.pipe_file(path, buffer.getvalue())
        if isinstance(self._files, LocalFileSystem):
            os.chmod(path, 0o600)

    def _path(self, id: str) -> str:
        return f"{self._root}/{id}.jpg"

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back by an error. Rows stay readable after it."""
        try:
            with Session(self._open(), expire_on_commit=False) as session, session.begin():
                yield session
        except (SQLAlchemyError, OSError, ImportError) as error:
            # The driver's words may hold the statement's values; only what kind of failure it was goes on.
            log.warning("storage failed: %s", type(error).__name__)
            if isinstance(error, SQLAlchemyError):
                self._reopen()
            raise StorageError(f"the database or the files cannot be used ({type(error).__name__})") from error

    def _reopen(self) -> None:
        """The next use opens the database anew: a connection to a file that was moved away would fail for ever."""
        with self._opening:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def _open(self) -> Engine:
        with self._opening:
            if self._engine is not None:
                return self._engine
            self._files, self._root = fsspec.core.url_to_fs(self._photos_url)
            local = isinstance(self._files, LocalFileSystem)
            if local:
                Path(self._root).mkdir(mode=0o700, parents=True, exist_ok=True)
                os.chmod(self._root, 0o700)
            else:
                self._files.makedirs(self._root, exist_ok=True)
            engine = create_engine(self._database_url, pool_pre_ping=True)
            if engine.dialect.name == "sqlite":
                event.listen(engine, "connect", _secure_sqlite)
                if engine.url.database and engine.url.database != ":memory:":
                    file = Path(engine.url.database)
                    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    file.touch(mode=0o600)
            Base.metadata.create_all(engine)
            self._engine = engine
            return engine


def _secure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA secure_delete = ON")  # deleted rows are overwritten, not only unlinked


def _exemplar(row: StoredPhoto, picture: bytes, now: float) -> Exemplar:
    with Image.open(BytesIO(picture), formats=("JPEG",)) as image:
        pixels = np.array(image.convert("RGB"))
    headshot = Headshot(*row.headshot)
    return Exemplar(
        id=row.id,
        image=pixels,
        headshot=headshot,
        landmarks=np.asarray(row.landmarks, np.float32),
        sharpness=row.sharpness,
        yaw=row.yaw,
        light=row.light,
        source="photo",
        frame=0,
        time=now,
        resolved=resolution_of(pixels, headshot),
    )
