"""What a published stream and a watcher cost at the least, measured: processor cores, with all on the last rung.

That is decoding, encoding without enlargement, and a share of the event loop. Looking for faces, the network and all
that is composed goes first when the machine is short, and is not reserved for anybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hime_core.stream.ladder import LADDER
from server.load.spent import Part
from server.load.stream import StreamLoad

SMOOTHING = 0.1  # per look, of which there is one a second


@dataclass(frozen=True)
class Cost:
    """cores: of a stream and all who watch it, None before one was measured; watcher: of one who watches; streams: on
    how many that rests."""

    cores: float | None = None
    watcher: float | None = None
    streams: int = 0


class Costs:
    """Of one process. look() is for the event loop's thread, whose own time it reads."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, loop_cpu: Callable[[], float] = time.thread_time
    ) -> None:
        self.now = Cost()
        self._clock, self._loop_cpu = clock, loop_cpu
        self._spent: dict[StreamLoad, dict[Part, float]] = {}
        self._before: tuple[float, float] | None = None  # by the clock, and of the event loop

    def look(self, streams: Iterable[StreamLoad], watchers: int) -> Cost:
        """streams: all there are; watchers: of all together. To be called about once a second."""
        spent = {stream: stream.spent.now() for stream in streams}
        since, self._spent = self._spent, spent
        before, self._before = self._before, (self._clock(), self._loop_cpu())
        if before is None or self._before[0] <= before[0]:
            return self.now
        seconds = self._before[0] - before[0]
        loop = (self._before[1] - before[1]) / seconds / max(1, len(spent) + watchers)
        # One that nobody watches is not encoded yet: it would make the next one look cheaper than it will be.
        measured = [
            _least(stream, spent[stream], since[stream]) / seconds
            for stream in spent
            if stream in since and spent[stream]["encode"] > since[stream]["encode"]
        ]
        if not measured:
            return self.now
        each = sum(measured) / len(measured) + loop * (1 + watchers / len(spent))
        self.now = Cost(_smoothed(self.now.cores, each), _smoothed(self.now.watcher, loop), len(measured))
        return self.now


def together(costs: Iterable[Cost]) -> Cost:
    """Of several processes, each by the number of its streams."""
    known = [cost for cost in costs if cost.cores is not None and cost.watcher is not None and cost.streams]
    streams = sum(cost.streams for cost in known)
    if not streams:
        return Cost()
    cores = sum((cost.cores or 0.0) * cost.streams for cost in known) / streams
    watcher = sum((cost.watcher or 0.0) * cost.streams for cost in known) / streams
    return Cost(cores, watcher, streams)


def _least(stream: StreamLoad, now: dict[Part, float], before: dict[Part, float]) -> float:
    """Seconds that the stream would have taken on the last rung."""
    spent = {part: now[part] - before[part] for part in now}
    if stream.rung is LADDER[-1]:
        return sum(spent.values())
    return spent["decode"] + spent["encode"] * stream.shrinks()


def _smoothed(before: float | None, now: float) -> float:
    return now if before is None else before + SMOOTHING * (now - before)
