"""The figures of all workers together, as a single relay has its own."""

from __future__ import annotations

from collections.abc import Callable

from server.limits import Limits
from server.observability.machine import Machine, Usage
from server.rooms.streams import StreamTold
from server.workers.fleet import Fleet


class Streams:
    """The running streams, and the limits."""

    def __init__(self, fleet: Fleet, limits: Limits) -> None:
        self.limits = limits
        self._fleet = fleet

    def streams(self, may_see: Callable[[str], bool] = lambda room: False) -> list[StreamTold]:
        """As the workers told last, by number. may_see: whether the names in a room may be told."""
        told = [stream for worker in self._fleet.there if worker.report for stream in worker.report.streams]
        hidden = {"room": None, "name": None}
        return [
            stream if stream.room is not None and may_see(stream.room) else stream.model_copy(update=hidden)
            for stream in sorted(told, key=lambda stream: stream.number)
        ]


class FleetMachine(Machine):
    """Also has the processor's time and the memory of the workers, and of the engine processes."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(others=lambda: fleet.engine_pids)
        self._fleet = fleet

    def look(self) -> Usage:
        own = super().look()
        reports = [worker.report for worker in self._fleet.there if worker.report]
        return own._replace(
            cpu_cores=_sum([own.cpu_cores, *(report.cpu_cores for report in reports)]),
            memory_mib=_sum([own.memory_mib, *(report.memory_mib for report in reports)]),
        )


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
