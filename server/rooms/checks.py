"""Connection tests: a peer that tries its way to the relay, without media and without entering a room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.limits.admission import Admission
from server.media.negotiation import Offer
from server.media.session import Session
from server.supervision import Tasks

LASTS = 10.0  # seconds, in which a way is found or there is none


class Checks:
    """Sessions that carry nothing, and end by themselves after `lasts` seconds. For the event loop's thread."""

    def __init__(self, make: Callable[[str], Session], admission: Admission, lasts: float = LASTS) -> None:
        """make: a session of a subject."""
        self.lasts = lasts
        self._make, self._admission = make, admission
        self._open: dict[str, Session] = {}
        self._tasks = Tasks("a connection test")

    async def answer(self, subject: str, offer: Offer) -> Session:
        """Raises InvalidOffer, TooMany, NoPort, and Problem 503 where too many are running."""
        with self._admission.check() as admitted:
            session = self._make(subject)

            def closed() -> None:
                admitted.release()
                self._open.pop(session.id, None)

            session.on_closed = closed
            session.on_over = lambda: self._end(session)
            self._open[session.id] = session
            await session.watch(offer, None, None)
        asyncio.get_running_loop().call_later(self.lasts, self._end, session)
        return session

    async def close(self) -> None:
        await asyncio.gather(*(session.close() for session in list(self._open.values())))

    def _end(self, session: Session) -> None:
        if session.id in self._open:
            self._tasks.run(session.close())
