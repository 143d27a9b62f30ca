"""The last day's figures, minute by minute, in an SQLite file that outlives the relay. It holds no names."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, delete, func, insert, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

DAY = 24 * 60 * 60  # seconds
MOST_ROWS = 50_000  # a day of some thirty streams; the oldest go first
EVERYTHING = 0  # the number that stands for all streams together

log = logging.getLogger(__name__)

METADATA = MetaData()
MINUTES = Table(
    "minutes",
    METADATA,
    Column("t", Integer, primary_key=True),  # when it began, Unix seconds
    Column("stream", Integer, primary_key=True),
    Column("figures", Text, nullable=False),  # JSON
)


class Row(NamedTuple):
    """One minute's figures of one stream, or of all."""

    t: int
    stream: int
    figures: dict[str, Any]


class KeptMinutes:
    """Blocks: not for the event loop's thread. What fails raises SQLAlchemyError, and leaves what was there before."""

    def __init__(self, path: Path, most_rows: int = MOST_ROWS) -> None:
        """A file that is no database is replaced: it holds nothing that is missed for long."""
        self._most_rows = most_rows
        self._engine: Engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 5})
        try:
            METADATA.create_all(self._engine)
        except OperationalError:  # it cannot be written now, which may end
            raise
        except DatabaseError:
            self._engine.dispose()
            path.unlink()
            METADATA.create_all(self._engine)
        with self._engine.connect() as connection:  # the highest number that a stream had, of those that are kept
            self.last_stream: int = connection.execute(select(func.max(MINUTES.c.stream))).scalar_one() or 0

    def add(self, rows: Sequence[Row]) -> None:
        """Also leaves out what is older than a day before the newest of them."""
        if not rows:
            return
        with self._engine.begin() as connection:
            connection.execute(
                insert(MINUTES).prefix_with("OR REPLACE"),
                [{"t": row.t, "stream": row.stream, "figures": json.dumps(row.figures)} for row in rows],
            )
            connection.execute(delete(MINUTES).where(MINUTES.c.t <= rows[-1].t - DAY))
            count = connection.execute(select(func.count()).select_from(MINUTES)).scalar_one()
            if count > self._most_rows:
                oldest = select(MINUTES.c.t).order_by(MINUTES.c.t).limit(1).offset(count - self._most_rows - 1)
                connection.execute(delete(MINUTES).where(MINUTES.c.t <= oldest.scalar_subquery()))

    def read(self, after: float, stream: int = EVERYTHING) -> list[dict[str, Any]]:
        """The minutes that began later than that, oldest first; each with its `t`."""
        wanted = select(MINUTES.c.t, MINUTES.c.figures).where(MINUTES.c.stream == stream, MINUTES.c.t > after)
        with self._engine.connect() as connection:
            found = connection.execute(wanted.order_by(MINUTES.c.t)).all()
        return [{"t": float(t), **json.loads(figures)} for t, figures in found]

    def close(self) -> None:
        self._engine.dispose()


def open_kept(path: Path, failed: Callable[[], None]) -> KeptMinutes | None:
    """None, told to `failed`, where the file cannot be had: the last minutes are shown all the same."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return KeptMinutes(path)
    except (OSError, SQLAlchemyError) as error:
        failed()
        log.warning("earlier minutes' figures cannot be kept: %s", type(error).__name__)
        return None
