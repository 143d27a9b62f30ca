"""Whether photos can be stored, for those who ask again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from server.exemplars.errors import StorageError
from server.supervision import Tasks, off_the_loop

WITHIN = 5.0  # seconds that storage may take to answer
FRESH = 5.0  # seconds for which storage that was well counts as well


class StorageCheck:
    """Looks one at a time, in a thread of its own: who asks meanwhile shares the look, and storage that hangs holds one
    thread. For the event loop's thread.

    reason: why photos could not be stored at the last look; None where they could, or before the first.
    """

    def __init__(self, check: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        """check: blocks, and raises StorageError."""
        self.reason: str | None = None
        self._check, self._clock = check, clock
        self._fresh_until = clock()
        self._in_use = False  # the thread
        self._tasks = Tasks("storage check")
        self._look: asyncio.Task[None] | None = None

    def begin(self, within: float = WITHIN) -> None:
        """Looks again, in the background, unless storage was well a moment ago. within: seconds."""
        if not self._tasks and self._clock() >= self._fresh_until:
            self._look = self._tasks.run(self._look_within(within))

    async def now(self, within: float = WITHIN) -> str | None:
        """The reason, after a look where one is due."""
        self.begin(within)
        if self._look is not None:
            await asyncio.shield(self._look)
        return self.reason

    async def _look_within(self, seconds: float) -> None:
        try:
            answered = not self._in_use and await off_the_loop(self._in_thread, seconds, "storage-check")
        except StorageError as error:
            self.reason = str(error)
            return
        self.reason = None if answered else "it does not answer"
        if answered:  # otherwise the next who asks learns at once that it is well again
            self._fresh_until = self._clock() + FRESH

    def _in_thread(self) -> None:
        self._in_use = True
        try:
            self._check()
        finally:
            self._in_use = False
