"""Calls are added one after the other, and measured at some numbers of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from server.client.load.group import Group
from server.client.load.metrics import RelayCounts
from server.client.load.step import Step, Usage, step_of

GRACE = 1.0  # seconds after a window in which its last frames may still come


@dataclass(frozen=True)
class RampPlan:
    """steps: numbers of calls at which is measured, rising; ramp: seconds from one call to the next; settle: from the
    last one's join to the window; seconds: of a window; limit: seconds that 95 % of a held call's frames take at most;
    until_full: ends with the first step at which a call is refused, or is not held in two windows, one after the
    other."""

    steps: Sequence[int]
    ramp: float
    settle: float
    seconds: float
    limit: float
    until_full: bool = False


class Ramp:
    """relay: counts what the relay tells. wait: for so many seconds at most; true where it is all over before."""

    def __init__(
        self,
        plan: RampPlan,
        group: Group,
        relay: Callable[[], Awaitable[RelayCounts | None]],
        wait: Callable[[float], Awaitable[bool]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._plan, self._group, self._relay, self._wait, self._clock = plan, group, relay, wait, clock
        self._added = 0
        self._window = 0

    async def steps(self) -> AsyncIterator[Step]:
        """As they are measured. None where it is over before the first."""
        for count in self._plan.steps:
            if await self._grow(count):
                return
            step = await self._measured()
            if step is not None and self._plan.until_full and not step.all_held and not self.refused:
                step = (
                    await self._measured() or step
                )  # one moment's trouble, the load's own even, is not the relay's end
            if step is None:
                return
            yield step
            if self._plan.until_full and not step.all_held:
                return

    async def _grow(self, count: int) -> bool:
        """Adds calls up to that number; true where it is over before."""
        joining: list[asyncio.Task[str]] = []
        over = False
        while self._added < count and not over:
            if joining and self._plan.until_full and joining[-1].done() and joining[-1].result():
                break
            joining.append(asyncio.create_task(self._group.add(self._added)))
            self._added += 1
            over = await self._wait(self._plan.ramp)
        self.refused.update(why for why in await asyncio.gather(*joining) if why)
        return over or await self._wait(self._plan.settle)

    async def _measured(self) -> Step | None:
        """None where it is over before the window is, so that nothing would be right."""
        self._window += 2
        group, window = self._group, self._window
        before, cpu, began = await self._relay(), await group.cpu_seconds(), self._clock()
        await group.begin(window)
        if await self._wait(self._plan.seconds):
            return None
        await group.begin(window + 1)
        took, used, after = self._clock() - began, await group.cpu_seconds() - cpu, await self._relay()
        await self._wait(GRACE)
        return step_of(await group.figures(window), self.refused, Usage(took, used, before, after), self._plan.limit)
