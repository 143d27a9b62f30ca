"""Opening the database: how its connections behave, and its schema."""

from __future__ import annotations

import logging
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text

from server.exemplars.cipher import Keyring
from server.exemplars.errors import SchemaTooNew

MIGRATIONS = Path(__file__).parent / "migrations"
BEFORE_MIGRATIONS = "0001"  # the schema of databases that were made before there were migrations
BUSY_SECONDS = 10
LOCK = 0x48494D45  # "HIME", the number of PostgreSQL's advisory lock

SQLITE_PRAGMAS = (
    f"busy_timeout = {BUSY_SECONDS * 1000}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "secure_delete = ON",  # deleted rows are overwritten, not only unlinked
)
POSTGRESQL = {
    "connect_timeout": "5",
    "options": f"-c lock_timeout={BUSY_SECONDS}s -c statement_timeout=30s -c idle_in_transaction_session_timeout=60s",
}

log = logging.getLogger(__name__)
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)  # it tells of every look at the schema


@dataclass(frozen=True)
class Schema:
    """current: None where there is none yet; newest: what this version knows."""

    current: str | None
    newest: str

    @property
    def known(self) -> bool:
        return self.current is None or self.current in _revisions()


def connect(url: str) -> Engine:
    """An engine whose connections are pooled, tested before use, and wait for locks for 10 s at most.

    Errors never hold the values of a statement.
    """
    address = make_url(url)
    common: dict[str, Any] = {"pool_pre_ping": True, "hide_parameters": True}
    if address.get_backend_name() == "postgresql":
        given = {name: value for name, value in POSTGRESQL.items() if name not in address.query}
        return create_engine(address, connect_args=given, pool_timeout=BUSY_SECONDS, pool_recycle=1800, **common)
    engine = create_engine(address, **common)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    file = Path(address.database or "")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)
    return engine


def lock(connection: Connection) -> None:
    """One process at a time changes the schema, until its transaction ends. SQLite's transactions are so anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def schema_of(connection: Connection) -> Schema:
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None and inspect(connection).has_table("exemplars"):
        current = BEFORE_MIGRATIONS
    return Schema(current, _revisions()[0])


def migrate(connection: Connection, keyring: Keyring) -> None:
    """Brings the schema up to date in the connection's transaction. Raises SchemaTooNew."""
    schema = schema_of(connection)
    if not schema.known:
        raise SchemaTooNew(
            f"the database was changed by a later version of HIME Relay (its schema is {schema.current}, and "
            f"{schema.newest} is the latest known here): install that version"
        )
    if schema.current == schema.newest:
        return
    config = _config()
    config.attributes.update(connection=connection, keyring=keyring)
    if schema.current == BEFORE_MIGRATIONS:
        command.stamp(config, BEFORE_MIGRATIONS)
    command.upgrade(config, "head")
    log.info("the database's schema is %s now, and was %s", schema.newest, schema.current or "not there")


def checkpoint(engine: Engine) -> None:
    """What was deleted leaves SQLite's log as well. Where another connection reads, it is left to the next time."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _revisions() -> list[str]:
    """Newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so, not where the driver thinks
    for pragma in SQLITE_PRAGMAS:
        _set(connection, pragma)


def _set(connection: sqlite3.Connection, pragma: str) -> None:
    """SQLite itself does not wait where the journal's mode is changed while others use the database: it fails, or says
    that the mode is the former one. So it is asked again, for as long as the connection waits for locks."""
    (milliseconds,) = connection.execute("PRAGMA busy_timeout").fetchone()
    end = time.monotonic() + milliseconds / 1000
    while True:
        late = time.monotonic() > end
        try:
            (value,) = connection.execute(f"PRAGMA {pragma}").fetchone() or ("",)
            if late or not pragma.startswith("journal_mode") or pragma.lower().endswith(value):
                return
        except sqlite3.OperationalError as error:
            if late or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
        time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that wants to write only later fails at once where another has written meanwhile.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
