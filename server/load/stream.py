"""One stream's part in the load of the machine."""

from __future__ import annotations

from collections.abc import Callable

from hime_core.stream.ladder import WHOLE, Rung
from server.load.felt import Felt
from server.load.spent import Spent


class StreamLoad:
    """rung: what the stream gets, set by `Shedding` in the event loop and read by the stream's threads. useful: whether
    the stream would cost less on that rung than on the one above it, which depends on what is watched. shrinks: the
    share of its encoders' pixels that is left where nothing is enlarged, 0..1."""

    def __init__(self, felt: Felt | None = None) -> None:
        """felt: of all streams; None: of this one alone."""
        self.felt = felt or Felt()
        self.spent = Spent()
        self.rung = WHOLE
        self.useful: Callable[[Rung], bool] = lambda rung: True
        self.shrinks: Callable[[], float] = lambda: 1.0
