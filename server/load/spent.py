"""Processor time that a stream has had, by what for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, get_args

Part = Literal["decode", "faces", "show", "encode"]
PARTS: tuple[Part, ...] = get_args(Part)


class Spent:
    """Seconds by part, from any thread. What runs in threads that streams share is not in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[Part, float] = dict.fromkeys(PARTS, 0.0)

    def thread(self, part: Part, cpu: Callable[[], float] = time.thread_time) -> Callable[[], None]:
        """For the calling thread, which is to call what is returned now and then: it adds the thread's time since the
        last call. A thread reads its own clock, as that of one that has just ended cannot be read safely."""
        before = cpu()

        def note() -> None:
            nonlocal before
            now = cpu()
            with self._lock:
                self._seconds[part] += max(0.0, now - before)
            before = now

        return note

    def now(self) -> dict[Part, float]:
        """Since the beginning."""
        with self._lock:
            return dict(self._seconds)
