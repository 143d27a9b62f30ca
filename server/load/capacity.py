"""How many streams and watchers there is room for: places follow what those that are there cost."""

from __future__ import annotations

from server.limits.admission import Admission
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
        late nevertheless, so that there is room for those who are there at most."""
        for slots, auto, most in zip((self._streams, self._watchers), self._auto, self._most(cost), strict=True):
            if auto:
                slots.in_all = max(1, min(most, slots.taken) if full else most)

    def _most(self, cost: Cost) -> tuple[int, int]:
        if not cost.cores or not cost.watcher:
            return self._estimated
        left = max(0.0, self._usable - self._streams.taken * cost.cores)
        return int(self._usable / cost.cores), self._watchers.taken + int(left / cost.watcher)
