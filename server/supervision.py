"""Keeps background work going, and the event loop from waiting for threads."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before work that failed is started again
CALM = 60.0  # seconds without a failure, after which the next pause is the first again
NO_THREAD_PAUSE = 0.2  # seconds until a thread is tried for again

log = logging.getLogger(__name__)

Failed = Callable[[str], None]  # is told which part failed, by a short fixed word


def told(error: BaseException) -> str:
    """What kind of error it was, and where. Not its message, which may hold a person's name."""
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__)).rstrip()}"


async def supervised(
    part: str,
    work: Callable[[], Awaitable[None]],
    failed: Failed = lambda part: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Runs work until it returns or is cancelled. Whenever it raises, it is started again after a pause that doubles
    up to LONGEST_PAUSE."""
    pause = FIRST_PAUSE
    while True:
        began = clock()
        try:
            await work()
            return
        except Exception as error:
            failed(part)
            pause = FIRST_PAUSE if clock() - began >= CALM else pause
            log.error("%s failed, and is started again in %g s: %s", part, pause, told(error))
        await sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


class Tasks:
    """The tasks of one owner, in the event loop's thread. An error of one is logged, and ends nothing else."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._running: set[asyncio.Task[Any]] = set()

    def __bool__(self) -> bool:
        return bool(self._running)

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=self._part)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> None:
        for task in list(self._running):
            task.cancel()

    async def ended(self) -> None:
        """Waits for those that run now."""
        if self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed: %s", self._part, told(error))


async def off_the_loop(work: Callable[[], object], seconds: float, name: str) -> bool:
    """Runs what blocks in a thread of its own, and waits for it up to `seconds`; what it raises is raised here.

    False where it still runs then: the thread is left behind, and ends with the process at the latest. Also where no
    thread could be had in that time. It is not one of the event loop's own threads, which a few that hang would use up.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, error)

    while True:
        try:
            threading.Thread(target=run, name=name, daemon=True).start()
            break
        except RuntimeError:  # there are too many threads; those of a call that ends may be among them
            if loop.time() >= end:
                log.error("%s: no thread could be had for it", name)
                return False
            await asyncio.sleep(NO_THREAD_PAUSE)
    await asyncio.wait((done,), timeout=max(0.0, end - loop.time()))
    if not done.done():
        done.cancel()
        log.error("%s has not ended within %g s, and is left behind", name, seconds)
        return False
    done.result()
    return True
