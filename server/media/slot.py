"""Where a frame waits for its consumer, and a newer one takes its place."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(Generic[T]):
    """Holds the newest items, one unless told otherwise, for a consumer thread. Producers never wait.

    A capacity of two bridges frames that come in pairs to a consumer that keeps up on average.
    """

    def __init__(self, capacity: int = 1) -> None:
        self._changed = threading.Condition()
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._closed = False
        self.displaced = 0

    def put(self, item: T) -> bool:
        """Puts an item in; True if it displaced one that nobody had taken, or if the slot is closed."""
        with self._changed:
            displaced = len(self._items) == self._capacity or self._closed
            self.displaced += displaced
            if not self._closed:
                if displaced:
                    self._items.popleft()
                self._items.append(item)
                self._changed.notify()
            return displaced

    def get(self) -> T | None:
        """Waits for an item and takes the oldest; None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._closed)
            return self._items.popleft() if self._items else None

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> int:
        """Wakes the consumer for good; how many items were left in the slot, which are dropped."""
        with self._changed:
            left, self._closed = len(self._items), True
            self._items.clear()
            self._changed.notify_all()
            return left
