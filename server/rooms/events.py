"""The events of a room, for any number of listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from server.limits.admission import Admitted

BACKLOG = 64  # events; a listener that falls further behind is dropped, and may come again


@dataclass(frozen=True)
class Event:
    """name: joined, reconnecting, left, refused, stats or draining; data: its JSON."""

    name: str
    data: dict[str, Any] = field(hash=False)


class Listener:
    """The events for one who listens, until close(), or until it has fallen too far behind. To be iterated."""

    def __init__(self, first: Iterable[Event], closed: Callable[[Listener], None]) -> None:
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()  # None: that was all
        self._closed = closed
        for event in first:
            self._events.put_nowait(event)

    def put(self, event: Event) -> None:
        self._events.put_nowait(event)
        if self._events.qsize() > BACKLOG:
            self.close()

    def close(self) -> None:
        """What has come is still given out. May be called several times."""
        self._closed(self)
        self._events.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            event = await self._events.get()
        except BaseException:
            self.close()
            raise
        if event is None:
            self._events.put_nowait(None)
            raise StopAsyncIteration
        return event


@dataclass(frozen=True, eq=False)
class Listening:
    """A listener and its place among the others. To be iterated once."""

    events: Listener
    place: Admitted

    def __aiter__(self) -> Listener:
        return self.events

    def release(self) -> None:
        """Stops listening. May be called several times."""
        self.events.close()
        self.place.release()


class Events:
    """Sends each event to every listener, without ever waiting for one."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def send(self, name: str, data: dict[str, Any]) -> None:
        for listener in list(self._listeners):
            listener.put(Event(name, data))

    def subscribe(self, first: Iterable[Event] = ()) -> Listener:
        """From this call on every event, after those of `first`; ends when the room closes."""
        listener = Listener(first, self._listeners.discard)
        self._listeners.add(listener)
        return listener

    def close(self) -> None:
        for listener in list(self._listeners):
            listener.close()
