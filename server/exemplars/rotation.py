"""Encrypts anew what is stored: under the newest key, or at all, where an earlier version left it in the clear."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select

from server.exemplars.errors import StorageError
from server.exemplars.photo import open_picture, reseal_row, seal_picture
from server.exemplars.schema import PhotoRow
from server.exemplars.storage import Storage

PAGE = 500

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rotation:
    """sealed: photos that are under the newest key now and were not before; left: those that could not be opened."""

    sealed: int
    left: int


def waiting(storage: Storage) -> int:
    """How many photos are not under the newest key. Raises StorageError."""
    with storage.session() as session:
        return session.scalars(
            select(func.count()).where(PhotoRow.stored, PhotoRow.key != storage.keyring.newest)
        ).one()


def rotate(storage: Storage, on_photo: Callable[[], None] = lambda: None) -> Rotation:
    """Encrypts everything under the newest key. The relay may run meanwhile, if it knows that key.

    Each photo is a transaction of its own: begun again, it goes on with what is left. Raises StorageError.
    """
    rotation = _seal_anew(storage, PhotoRow.key != storage.keyring.newest, on_photo)
    if not rotation.left:  # else the older keys are still needed, and without this one nobody leaves them out
        storage.reseal_secret()
    storage.checkpoint()
    return rotation


def seal_plain_files(storage: Storage) -> None:
    rotation = _seal_anew(storage, PhotoRow.key == "", lambda: None)
    if rotation.sealed:
        log.info("%d photos of an earlier version were encrypted", rotation.sealed)


def _seal_anew(storage: Storage, chosen: ColumnElement[bool], on_photo: Callable[[], None]) -> Rotation:
    sealed = left = 0
    for id in _ids(storage, chosen):
        try:
            sealed += _seal_one(storage, id)
        except StorageError as error:
            left += 1
            log.warning("a photo cannot be encrypted anew: %s", error)
        on_photo()
    return Rotation(sealed, left)


def _ids(storage: Storage, chosen: ColumnElement[bool]) -> Iterator[str]:
    last = ""
    while True:
        page = select(PhotoRow.id).where(chosen, PhotoRow.stored, PhotoRow.id > last).order_by(PhotoRow.id).limit(PAGE)
        with storage.session() as session:
            ids = list(session.scalars(page))
        yield from ids
        if len(ids) < PAGE:
            return
        last = ids[-1]


def _seal_one(storage: Storage, id: str) -> bool:
    """False where it was deleted meanwhile. The row is held, so that the file is not written after its deletion."""
    with storage.session() as session:
        row = session.scalar(select(PhotoRow).where(PhotoRow.id == id).with_for_update())
        if row is None or row.expires_at == 0:
            return False
        reseal_row(row, storage.keyring)
        stored = storage.files.read(id)
        if stored is not None:
            storage.files.write(id, seal_picture(open_picture(stored, row, storage.keyring), id, storage.keyring))
        row.key = storage.keyring.newest
        return True
