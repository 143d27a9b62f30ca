"""What a node is asked by its Node: of a single relay, and of a front with its workers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from server.cluster.told import Change

if TYPE_CHECKING:
    from server.app import Relay
    from server.workers.front import Front

log = logging.getLogger(__name__)


class OfRelay:
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def rooms(self) -> frozenset[str]:
        return frozenset(room.name for room in self._relay.rooms.everywhere if not room.forgotten)

    def free(self) -> int:
        return _free(self._relay)

    async def change(self, change: Change) -> None:
        if change.kind == "forgotten":
            await self._relay.exemplars.forget_here(change.person, change.ids)
        elif change.person is not None:
            await self._relay.exemplars.use(change.person, change.ids)

    async def compare_with_storage(self) -> None:
        await self._relay.exemplars.compare_with_storage()

    def give_up(self, room: str) -> None:
        if self._relay.rooms.give_up(room):
            self._relay.metrics.failure("room")


class OfFront:
    def __init__(self, front: Front) -> None:
        self._front = front
        self._giving_up: dict[str, asyncio.Task[None]] = {}

    def rooms(self) -> frozenset[str]:
        reports = [worker.report for worker in self._front.fleet.there if worker.report]
        told = {room for report in reports for room in report.rooms}
        return frozenset(told | self._front.fleet.pins.rooms | self._front.hub.rooms)

    def free(self) -> int:
        return _free(self._front)

    async def change(self, change: Change) -> None:
        await self._tell(change.kind, {"person": change.person, "ids": list(change.ids)})

    async def compare_with_storage(self) -> None:
        await self._tell("compared", {"person": None, "ids": []})

    def give_up(self, room: str) -> None:
        self._front.hub.give_up(room)
        if room not in self._giving_up:
            task = self._giving_up[room] = asyncio.create_task(self._give_up(room), name="give-up")
            task.add_done_callback(lambda task: self._giving_up.pop(room))

    async def _give_up(self, room: str) -> None:
        """A worker that does not answer is asked again: the node is told of the room with each beat."""
        asked = [worker.control.delete(f"/worker/rooms/{room}") for worker in self._front.fleet.there]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        if any(not isinstance(answer, BaseException) and answer.text == "true" for answer in answers):
            self._front.metrics.failure("room")

    async def _tell(self, what: str, body: dict[str, object]) -> None:
        """Raises httpx.HTTPError where a worker that is there does not do it."""
        asked = (worker.control.post(f"/worker/photos/{what}", json=body) for worker in self._front.fleet.there)
        for answer in await asyncio.gather(*asked):
            answer.raise_for_status()


def _free(relay: Relay | Front) -> int:
    streams = relay.limits.admission.streams
    return 0 if relay.drain.seconds_left is not None else max(0, streams.in_all - streams.taken)
