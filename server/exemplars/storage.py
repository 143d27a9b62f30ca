"""The database, the files and the keys of the photos, together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from server.exemplars.cipher import Keyring, Pseudonyms
from server.exemplars.database import BEFORE_MIGRATIONS, checkpoint, connect, lock, migrate, schema_of
from server.exemplars.errors import StorageError
from server.exemplars.files import Files
from server.exemplars.keys import KeySource
from server.exemplars.schema import PSEUDONYMS, SecretRow
from server.settings import Settings

SECRET = f"secret:{PSEUDONYMS}"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    engine: Engine
    files: Files
    keyring: Keyring
    pseudonyms: Pseudonyms


class Storage:
    """Blocking and thread-safe. It opens on first use, so that the database and the key may come after the relay, and
    tries again at each use until it could be opened. Everything raises StorageError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opening = threading.Lock()
        self._opened: Opened | None = None

    @property
    def files(self) -> Files:
        return self._open().files

    @property
    def keyring(self) -> Keyring:
        return self._open().keyring

    @property
    def pseudonyms(self) -> Pseudonyms:
        return self._open().pseudonyms

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back by an error. Rows stay readable after it."""
        try:
            with _failures(), Session(self._open().engine, expire_on_commit=False) as session, session.begin():
                yield session
        except StorageError as error:
            if isinstance(error.__cause__, SQLAlchemyError):
                self.close()  # opened anew at the next use: a connection to a file that was moved would fail for ever
            raise

    def reseal_secret(self) -> None:
        """Encrypts the pseudonyms' key under the newest key."""
        with self.session() as session:
            secret = session.scalars(select(SecretRow).where(SecretRow.name == PSEUDONYMS).with_for_update()).one()
            secret.sealed = self.keyring.seal(self.keyring.open(secret.sealed, SECRET), SECRET)

    def checkpoint(self) -> None:
        with _failures():
            checkpoint(self._open().engine)

    def close(self) -> None:
        with self._opening:
            if self._opened is not None:
                self._opened.engine.dispose()
                self._opened = None

    def _open(self) -> Opened:
        with self._opening:
            if self._opened is None:
                with _failures():
                    self._opened = self._first_open()
            return self._opened

    def _first_open(self) -> Opened:
        source = KeySource.of(self._settings)
        files = Files(self._settings.photos)
        engine = connect(self._settings.database)
        try:
            with engine.begin() as connection:
                lock(connection)
                # A new key beside photos that are encrypted with another would only hide that theirs is missing.
                sealed_already = schema_of(connection).current not in (None, BEFORE_MIGRATIONS)
                keyring = source.load() if sealed_already else source.load_or_make()
                migrate(connection, keyring)
                with Session(connection) as session:
                    key = session.scalars(select(SecretRow.sealed).where(SecretRow.name == PSEUDONYMS)).one()
                opened = Opened(engine, files, keyring, Pseudonyms(keyring.open(key, SECRET)))
            if not sealed_already:
                checkpoint(engine)  # what was in the clear leaves the log
        except BaseException:
            engine.dispose()
            raise
        return opened


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError, ImportError) as error:
        # The driver's words may hold the statement's values; only what kind of failure it was goes on.
        log.warning("storage failed: %s", type(error).__name__)
        raise StorageError(f"the database cannot be used ({type(error).__name__})") from error
