"""How the relay ends: it is unready at once, calls go on for a while, and then end with a goodbye."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from server.problems import problem_response
from server.rooms.rooms import Rooms

POLL = 0.1  # seconds between looks at whether anybody is left
GOODBYE_SECONDS = 5.0  # that ending the calls may take
HURRIED_SECONDS = 2.0  # the same after a second signal

log = logging.getLogger(__name__)


class Drain:
    """Ends a relay's calls, `seconds` after it was told to, or as soon as nobody is left. For the event loop's thread.

    on_over: called once, when all calls have ended, or would not end in time.
    """

    def __init__(self, rooms: Rooms, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.on_over: Callable[[], None] = lambda: None
        self.over = asyncio.Event()
        self._rooms, self._seconds, self._clock = rooms, seconds, clock
        self._ends: float | None = None
        self._hurried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        rooms.ends_in = lambda: self.seconds_left

    @property
    def seconds_left(self) -> float | None:
        """Until the calls are ended; None while the relay is not about to end."""
        return None if self._ends is None else max(0.0, self._ends - self._clock())

    def begin(self) -> None:
        """Tells everybody, and returns at once. Once begun, it is not to be stopped."""
        if self._task is None:
            self._ends = self._clock() + self._seconds
            self._rooms.tell_of_end()
            self._task = asyncio.create_task(self._run(), name="drain")
            self._task.add_done_callback(self._done)

    def hurry(self) -> None:
        """Calls are ended now."""
        self._hurried.set()

    async def _run(self) -> None:
        while self._rooms.anyone and self.seconds_left and not self._hurried.is_set():
            await asyncio.sleep(min(POLL, self.seconds_left))
        self._ends = self._clock()
        ending = asyncio.ensure_future(self._rooms.close())
        waits = HURRIED_SECONDS if self._hurried.is_set() else GOODBYE_SECONDS
        hurried = asyncio.ensure_future(self._hurried.wait())
        await asyncio.wait((ending, hurried), timeout=waits, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            await asyncio.wait((ending,), timeout=HURRIED_SECONDS)
        hurried.cancel()
        if not ending.done():
            ending.cancel()
            log.error("calls have not ended within %g s, and are cut", waits)
        else:
            ending.result()

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("calls did not end cleanly", exc_info=error)
        self.over.set()
        self.on_over()


class RefuseWhileDraining:
    """Answers 503 to whoever would begin to publish on a relay that is about to end.

    Everything else is still answered: who is in a call may watch anew, trickle, leave, and delete photos.
    """

    def __init__(self, app: ASGIApp, drain: Callable[[], Drain], refused: Callable[[], None]) -> None:
        self.app, self.drain, self.refused = app, drain, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith("/whip/"):
            left = self.drain().seconds_left
            if left is not None:
                self.refused()
                detail = "The relay is about to end, and takes nobody new; try again shortly."
                after = {"Retry-After": str(max(1, math.ceil(left)))}
                await problem_response(503, detail, after, kind="draining")(scope, receive, send)
                return
        await self.app(scope, receive, send)
