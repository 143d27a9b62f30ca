"""The other workers, as one worker tells them of photos."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from server.problems import Problem
from server.workers.link import connected

ANSWER_WITHIN = 10.0  # seconds

log = logging.getLogger(__name__)


class Siblings:
    """An Elsewhere. A worker that cannot be reached has ended, and its calls with it, or it has none yet."""

    def __init__(self, sockets: Sequence[Path], secret: str) -> None:
        self._others = [connected(socket, ANSWER_WITHIN, secret) for socket in sockets]

    async def added(self, person: str, ids: Sequence[str]) -> None:
        if not await self._told("added", person, ids):
            log.warning("a worker has not heard of new photos; its streams use them when they come again")

    async def forget(self, person: str | None, ids: Sequence[str]) -> None:
        if not await self._told("forgotten", person, ids):
            detail = "What runs now may still use what was to be deleted, as a part of the relay does not answer."
            raise Problem(503, f"{detail} Ask again.", {"Retry-After": "5"}, kind="photos-unavailable")

    async def close(self) -> None:
        await asyncio.gather(*(http.aclose() for http in self._others))

    async def _told(self, what: str, person: str | None, ids: Sequence[str]) -> bool:
        """Whether all who are there have done it."""
        body = {"person": person, "ids": list(ids)}
        return all(await asyncio.gather(*(self._tell(http, what, body) for http in self._others)))

    @staticmethod
    async def _tell(http: httpx.AsyncClient, what: str, body: Mapping[str, object]) -> bool:
        try:
            return (await http.post(f"/worker/photos/{what}", json=body)).is_success
        except httpx.TimeoutException:
            return False
        except httpx.TransportError:
            return True
