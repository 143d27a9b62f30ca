"""How many streams and watchers there is room for: places follow what those that are there cost."""

from __future__ import annotations

from server.limits.admission import WATCHERS_PER_STREAM, Admission
from server.load.cost import Cost
from server.settings import Settings

# Of the processor that streams may take when all of them have the least. Two cores that passed 8 calls on were half
# busy and late with none; with 12 they were at 0.69, and a tenth of the frames was lost (docs/performance.md).
USABLE = 0.6


class Capacity:
    """Sets the places of an admission where the settings leave them to it; numbers that were set stay as they are.

    Before anything was measured, places are those of the estimate by cores. For the event loop.
    """

    def __init__(self, admission: Admission, settings: Settings, cores: float) -> None:
        """cores: that all streams of the admission have together."""
        self._usable = USABLE * cores
        self._streams, self._watchers = admission.streams, admission.watchers
        self._auto = settings.max_streams == "auto", settings.max_watchers == "auto"
        self._estimated = self._streams.in_all, self._watchers.in_all

    def update(self, cost: Cost, full: bool) -> None:
        """cost: at the least, of a stream with its watchers; full: whether all streams have the least already and are
        late nevertheless, so that there is room for those who are there at most. Who may watch them is not kept out
        for that: a call in which some are not seen would be of no use."""
        streams, watchers = self._most(cost)
        if self._auto[0]:
            self._streams.in_all = max(1, min(streams, self._streams.taken) if full else streams)
        if self._auto[1]:
            self._watchers.in_all = watchers

    def _most(self, cost: Cost) -> tuple[int, int]:
        if not cost.cores or not cost.watcher:
            return self._estimated
        there = self._streams.taken
        left = max(0.0, self._usable - there * cost.cores)
        watchers = self._watchers.taken + int(left / cost.watcher)
        return int(self._usable / cost.cores), max(watchers, WATCHERS_PER_STREAM * max(1, there))
