"""What is looked after in all rooms, twice a second: lost sessions, figures, what is remembered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from server.observability.metrics import Metrics
from server.rooms.room import Room
from server.supervision import told

SWEEP_INTERVAL = 0.5
STATS_INTERVAL = 1.0

log = logging.getLogger(__name__)


class Sweep:
    """rooms: by name, as they come and go; most_remembered: participants who have left."""

    def __init__(
        self,
        rooms: dict[str, Room],
        metrics: Metrics,
        most_remembered: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rooms, self._metrics, self._most_remembered, self._clock = rooms, metrics, most_remembered, clock

    async def run(self) -> None:
        """Ends lost sessions, sends the rooms' figures, and drops rooms that nobody is remembered in. Until it is
        cancelled."""
        last_stats = last_sweep = self._clock()
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            now = self._clock()
            # After a stall of the loop itself, packets that have come meanwhile are still to be read.
            stalled, last_sweep = now - last_sweep > 2 * SWEEP_INTERVAL, now
            for name, room in list(self._rooms.items()):
                if not stalled:
                    self._looked_after(room.sweep)
                if now - last_stats >= STATS_INTERVAL - 0.1:
                    self._looked_after(room.send_stats)
                if room.forgotten:
                    del self._rooms[name]
            if now - last_stats >= STATS_INTERVAL - 0.1:
                last_stats = now
            self.forget_oldest()
            self.count_streams()

    def forget_oldest(self) -> None:
        """What is remembered of those who have left is large: there is so much of it in all."""
        left = sorted((at, name) for name, room in self._rooms.items() for at in room.remembered.left)
        for _, name in left[: max(0, len(left) - self._most_remembered)]:
            self._rooms[name].remembered.forget_oldest()

    def count_streams(self) -> None:
        everyone = [one for room in self._rooms.values() for one in room.participants.values()]
        self._metrics.set_streams("in", len(everyone))
        self._metrics.set_streams("out", sum(len(one.watchers) for one in everyone))
        held = [people for room in self._rooms.values() for people in room.all_people()]
        self._metrics.set_bank(sum(len(people.exemplars()) for people in held))

    def _looked_after(self, look: Callable[[], None]) -> None:
        """One room's error does not keep the others from being looked after."""
        try:
            look()
        except Exception as error:
            self._metrics.failure("room")
            log.error("a room could not be looked after: %s", told(error))
