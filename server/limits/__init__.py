"""What the relay takes at most, and how it refuses more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from server.limits.admission import Admission
from server.limits.rates import AddressLimit, Count, RateLimit, uncounted
from server.settings import Settings


class Limits:
    """The limits of one relay, but for wrong tokens', which access counts. For the event loop.

    sessions: WHIP and WHEP offers by address; questions: requests for ICE servers, as many; uploads, persons_uploads:
    requests with photos by address, and by person; admission: places for sessions and listeners. A refusal raises
    Problem and is counted.
    """

    def __init__(
        self,
        settings: Settings,
        refused: Count = uncounted,
        gpu: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refused = refused
        self.admission = Admission(settings, gpu, refused)
        self.bank_turn = asyncio.Lock()  # pictures are encoded one after the other
        self.figures_turn = asyncio.Lock()  # so are the dashboard's figures
        wait = "Wait as long as Retry-After says."
        self.sessions = AddressLimit(
            RateLimit(settings.sessions_per_minute, clock), "sessions", "offers", wait, refused
        )
        self.questions = AddressLimit(
            RateLimit(settings.sessions_per_minute, clock), "questions", "requests for ICE servers", wait, refused
        )
        self.uploads = AddressLimit(RateLimit(settings.uploads_per_minute, clock), "uploads", "uploads", wait, refused)
        self.persons_uploads = AddressLimit(
            RateLimit(settings.uploads_per_person_per_minute, clock),
            "uploads",
            "uploads",
            wait,
            refused,
            "of one person",
        )


__all__ = ["Limits"]
