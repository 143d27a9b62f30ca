"""The places of sessions in all workers, so that limits hold for all of them together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from server.limits.admission import Admission, Admitted
from server.workers.report import Key, Report


@dataclass(frozen=True, eq=False)
class _Held:
    admitted: Admitted
    worker: int
    since: float  # clock seconds


class Places:
    """Of each session from the offer on, until its worker no longer tells of it. For the event loop."""

    def __init__(self, admission: Admission, clock: Callable[[], float] = time.monotonic) -> None:
        self._admission, self._clock = admission, clock
        self._held: dict[str, _Held] = {}  # by session
        self._publishers: dict[Key, str] = {}  # their newest sessions

    def publisher(self, key: Key, video: bool) -> Admitted:
        """Shares the place of who has the name, as one may take over from the other. Raises Problem 503."""
        before = self._held.get(self._publishers.get(key, ""))
        return self._admission.publisher(key[0], video, before.admitted if before else None)

    def watcher(self, key: Key) -> Admitted:
        """Raises Problem 503."""
        return self._admission.watcher(*key)

    def hold(self, session: str, worker: int, admitted: Admitted, publishes: Key | None = None) -> None:
        """The offer was answered with that session."""
        self._held[session] = _Held(admitted, worker, self._clock())
        if publishes is not None:
            self._publishers[publishes] = session

    def reported(self, worker: int, report: Report, asked: float) -> None:
        """asked: the clock's seconds when the report was asked for; who was answered later is not in it yet."""
        there = report.sessions
        self._release(lambda id, one: one.worker == worker and one.since < asked and id not in there)

    def gone(self, worker: int) -> None:
        self._release(lambda id, one: one.worker == worker)

    def _release(self, over: Callable[[str, _Held], bool]) -> None:
        for id in [id for id, one in self._held.items() if over(id, one)]:
            self._held.pop(id).admitted.release()
        self._publishers = {key: session for key, session in self._publishers.items() if session in self._held}
