"""Keeps each minute's figures, of all streams together and of each by its number."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from server.observability.kept import EVERYTHING, KeptMinutes, Row
from server.observability.machine import Machine
from server.observability.metrics import Metrics
from server.rooms.streams import StreamTold

LOOK = 1.0  # seconds between looks at the machine

log = logging.getLogger(__name__)


class Keeper:
    """streams: those that run now. kept: None where nothing can be kept; the machine is looked at all the same."""

    def __init__(
        self,
        metrics: Metrics,
        kept: KeptMinutes | None,
        streams: Callable[[], list[StreamTold]],
        machine: Machine | None = None,
    ) -> None:
        self._metrics, self._kept, self._streams = metrics, kept, streams
        self._machine = machine or Machine()
        self._last = 0.0
        self._outcomes: dict[int, Counter[str]] = {}  # of each stream, up to the minute before

    async def run(self) -> None:
        """Until it is cancelled. Failures are counted; a minute that could not be written is missing."""
        while True:
            await asyncio.sleep(min(LOOK, self._metrics.history.until_next(60) + 0.05))
            self._metrics.usage(await asyncio.to_thread(self._machine.look))
            rows = self.rows()
            if not rows or self._kept is None:
                continue
            try:
                await asyncio.to_thread(self._kept.add, rows)
            except SQLAlchemyError as error:
                self._metrics.failure("figures")
                log.warning("a minute's figures could not be kept: %s", type(error).__name__)

    def rows(self) -> list[Row]:
        """Of the minutes that have ended since the last call; none in most seconds."""
        minutes = self._metrics.history.minutes(after=self._last)
        if not minutes:
            return []
        rows = [Row(int(minute.pop("t")), EVERYTHING, minute) for minute in minutes]
        self._last = newest = float(rows[-1].t)
        streams = self._streams()
        outcomes = {stream.number: Counter(stream.outcomes) for stream in streams}
        rows += [Row(int(newest), stream.number, self._figures(stream)) for stream in streams]
        self._outcomes = outcomes
        return rows

    def _figures(self, stream: StreamTold) -> dict[str, Any]:
        """Rates as they are at the minute's end, outcomes over the minute."""
        watchers, before = stream.watchers, self._outcomes.get(stream.number, Counter())
        return {
            "fps_in": stream.fps_in,
            "fps_out": stream.fps_out,
            "latency_ms": stream.latency_ms,
            "outcomes": {name: count - before[name] for name, count in stream.outcomes.items()},
            "exemplars": stream.exemplars,
            "watchers": len(watchers),
            "kbps": round(sum(one.kbps or 0.0 for one in watchers), 1),
            "loss": max((one.loss or 0.0 for one in watchers), default=0.0),
        }
