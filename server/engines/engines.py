"""All engine processes of a relay, and whether it has any."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from server.engines.cards import cards
from server.engines.keeper import MODULE, Keeper
from server.settings import Settings
from server.supervision import Failed, supervised


class Engines:
    """For the event loop."""

    def __init__(self, settings: Settings, cards: Sequence[str | None], failed: Failed, module: str = MODULE) -> None:
        """cards: one process for each, None where any will do; failed: counts deaths; module: what they run."""
        self._directory = tempfile.TemporaryDirectory(prefix="hime-engine-")  # for this user alone
        self.keepers = [
            Keeper(settings, Path(self._directory.name) / f"{number}.sock", card, failed, module)
            for number, card in enumerate(cards, 1)
        ]
        self._tasks = [
            asyncio.create_task(supervised("engine", keeper.run, failed), name="engine") for keeper in self.keepers
        ]

    @property
    def pids(self) -> list[int]:
        """Of those that run now."""
        return [keeper.pid for keeper in self.keepers if keeper.pid is not None]

    def of_worker(self, number: int) -> Path:
        """The socket of the engine that a worker asks, by its number from 1: they take turns."""
        return self.keepers[(number - 1) % len(self.keepers)].path

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        for keeper in self.keepers:
            keeper.close()
        self._directory.cleanup()


async def engines_of(settings: Settings, failed: Failed, module: str = MODULE) -> Engines | None:
    """None where each worker has its engine within itself: HIME_ENGINE says so, or it is auto and there is one worker
    alone, no graphics card, or no Linux; and where a cluster's engines are asked."""
    if settings.cluster and settings.cluster_engines:
        return None
    alone = settings.worker_count == 1 or not sys.platform.startswith("linux")
    if settings.engine == "worker" or (settings.engine == "auto" and alone):
        return None
    found = [] if settings.device == "cpu" else await asyncio.to_thread(cards)
    if settings.engine == "auto" and not found:
        return None
    return Engines(settings, found[: settings.worker_count] or [None], failed, module)
