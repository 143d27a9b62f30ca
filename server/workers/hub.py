"""The rooms' event streams: one out of those of all workers, for any number of listeners."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial

import httpx

from server.limits.admission import Admission
from server.rooms.events import Event, Events, Listening
from server.supervision import Failed, Tasks, supervised
from server.workers.merged_room import MergedRoom
from server.workers.process import Worker

AGAIN = 0.1  # seconds until a worker is asked again
SILENT = 5.0  # seconds without an event, of which there is one each second, after which a stream is opened anew


class _Feed:
    """One room's."""

    def __init__(self, room: str, workers: Sequence[Worker], failed: Failed) -> None:
        self.merged, self.events = MergedRoom(), Events()
        self._room, self._failed, self._tasks = room, failed, Tasks("a room's events")
        for worker in workers:
            self._tasks.run(supervised("events", partial(self._follow, worker), failed))

    def gone(self, worker: Worker) -> None:
        self._send(self.merged.gone(worker.number))

    def close(self) -> None:
        self._tasks.cancel()
        self.events.close()

    def _send(self, events: Sequence[Event]) -> None:
        for event in events:
            self.events.send(event.name, event.data)

    async def _follow(self, worker: Worker) -> None:
        """Until it is cancelled, through restarts of the worker."""
        while True:
            if worker.there:
                try:
                    async with aclosing(_events(worker, self._room)) as events:
                        async for event in events:
                            if not worker.there:  # what is left of one that has just ended
                                break
                            self._send(self.merged.take(worker.number, event))
                except (httpx.TimeoutException, httpx.HTTPStatusError):
                    self._failed("events")  # it is slow, or refuses: it is asked again
                except httpx.TransportError:
                    pass  # it has died, which is counted as that
                else:
                    while worker.state == "ending":  # it has ended all streams, as its calls
                        await asyncio.sleep(AGAIN)
            await asyncio.sleep(AGAIN)


class Hub:
    """For the event loop."""

    def __init__(
        self, workers: Sequence[Worker], admission: Admission, first: Callable[[], list[Event]], failed: Failed
    ) -> None:
        """first: what every listener is told before all else; failed: counts what went wrong, by a fixed word."""
        self._workers, self._admission, self._first, self._failed = workers, admission, first, failed
        self._feeds: dict[str, _Feed] = {}

    @property
    def rooms(self) -> set[str]:
        """Those that somebody listens to."""
        return set(self._feeds)

    def listen(self, room: str) -> Listening:
        """A place among the room's listeners, to be released. Raises Problem 503 where there is none."""
        with self._admission.listener(room) as place:
            if room not in self._feeds:
                self._feeds[room] = _Feed(room, self._workers, self._failed)
            feed = self._feeds[room]
            return Listening(feed.events.subscribe([*self._first(), *feed.merged.first()]), place)

    def tell(self, event: Event) -> None:
        for feed in self._feeds.values():
            feed.events.send(event.name, event.data)

    def gone(self, worker: Worker) -> None:
        """It has ended, and its participants with it."""
        for feed in self._feeds.values():
            feed.gone(worker)

    def give_up(self, room: str) -> None:
        """Whoever listens to the room is to do so elsewhere."""
        if (feed := self._feeds.pop(room, None)) is not None:
            feed.close()

    def sweep(self) -> None:
        """Rooms that nobody listens to any longer are not followed."""
        for room in [room for room, feed in self._feeds.items() if not feed.events]:
            self._feeds.pop(room).close()

    def close(self) -> None:
        for feed in self._feeds.values():
            feed.close()
        self._feeds.clear()


async def _events(worker: Worker, room: str) -> AsyncGenerator[Event, None]:
    """As the worker tells them. Raises httpx.HTTPError."""
    timeout = httpx.Timeout(SILENT)
    async with worker.control.stream("GET", f"/worker/rooms/{room}/events", timeout=timeout) as response:
        response.raise_for_status()
        name = ""
        async for line in response.aiter_lines():
            kind, _, text = line.partition(":")
            if kind == "event":
                name = text.strip()
            elif kind == "data":
                yield Event(name, json.loads(text))
