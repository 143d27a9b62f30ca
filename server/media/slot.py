"""A one-frame slot: where a frame waits for its consumer, and a newer one takes its place."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(Generic[T]):
    """Holds the newest item for a consumer thread. Producers never wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self.displaced = 0

    def put(self, item: T) -> bool:
        """Puts an item in; True if it displaced one that nobody had taken, or if the slot is closed."""
        with self._changed:
            displaced = self._item is not None or self._closed
            self.displaced += displaced
            if not self._closed:
                self._item = item
                self._changed.notify()
            return displaced

    def get(self) -> T | None:
        """Waits for an item and takes it; None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed)
            item, self._item = self._item, None
            return item

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> bool:
        """Wakes the consumer for good; True if an item was left in the slot, which is dropped."""
        with self._changed:
            left, self._item, self._closed = self._item is not None, None, True
            self._changed.notify_all()
            return left
