"""The events of a room, for any number of listeners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

BACKLOG = 64  # events; a listener that falls further behind is dropped, and may come again


@dataclass(frozen=True)
class Event:
    """name: joined, left, stats or draining; data: its JSON."""

    name: str
    data: dict[str, Any] = field(hash=False)


class Events:
    """Sends each event to every listener, without ever waiting for one."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Event | None]] = set()

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def send(self, name: str, data: dict[str, Any]) -> None:
        for listener in list(self._listeners):
            self._put(listener, Event(name, data))

    def subscribe(self, first: Iterable[Event] = ()) -> AsyncIterator[Event]:
        """From this call on every event, after those of `first`; ends when the room closes."""
        listener: asyncio.Queue[Event | None] = asyncio.Queue()
        for event in first:
            listener.put_nowait(event)
        self._listeners.add(listener)
        return self._listen(listener)

    def close(self) -> None:
        for listener in self._listeners:
            listener.put_nowait(None)
        self._listeners.clear()

    def _put(self, listener: asyncio.Queue[Event | None], event: Event) -> None:
        listener.put_nowait(event)
        if listener.qsize() > BACKLOG:
            self._listeners.discard(listener)
            listener.put_nowait(None)

    async def _listen(self, listener: asyncio.Queue[Event | None]) -> AsyncIterator[Event]:
        try:
            while (event := await listener.get()) is not None:
                yield event
        finally:
            self._listeners.discard(listener)
