"""What a receiver tells the sender of the arrival of its packets: transport-wide feedback, twenty times a second."""

from __future__ import annotations

from collections.abc import Callable

from server.media.transport_cc import Feedback

INTERVAL = 0.05  # seconds between messages, while packets come
MOST = 500  # packets that wait to be told of: at 50 ms, 100 Mbit/s
FURTHEST = 1500  # numbers that one message may span
LATE = 250  # numbers before those told of, of which a late one is still told


class Arrivals:
    """Collects when packets came and tells of them; of those between that have not come, too."""

    def __init__(self, ssrc: int, send: Callable[[bytes], None]) -> None:
        """ssrc: the receiver's own."""
        self._ssrc = ssrc
        self._send = send
        self._came: dict[int, float] = {}  # by number, unwrapped
        self._newest: int | None = None
        self._next = 0  # the first that was not told of
        self._count = 0
        self._told = float("-inf")

    def add(self, number: int, arrived: float, media_ssrc: int) -> None:
        """number: 16 bits; arrived: clock seconds. Sends a message where it is time for one."""
        if self._newest is None:
            self._newest = self._next = number + 0x10000
            self._told = arrived
        unwrapped = self._newest + ((number - self._newest + 0x8000) & 0xFFFF) - 0x8000
        if unwrapped > self._newest + FURTHEST:  # a sender that begins anew
            self._came.clear()
            self._next = unwrapped
        if unwrapped >= self._next - LATE and len(self._came) < MOST:
            self._came.setdefault(unwrapped, arrived)
        self._newest = max(self._newest, unwrapped)
        if arrived - self._told >= INTERVAL and self._came:
            self._tell(arrived, media_ssrc)

    def _tell(self, now: float, media_ssrc: int) -> None:
        first, last = min(self._came), max(self._came)
        first = min(first, max(self._next, last - FURTHEST))
        arrivals = tuple(self._came.get(number) for number in range(first, last + 1))
        self._came.clear()
        self._next, self._told = max(self._next, last + 1), now
        try:
            message = bytes(Feedback(self._ssrc, media_ssrc, first & 0xFFFF, arrivals, self._count))
        except ValueError:  # after a pause of seconds
            return
        self._count = (self._count + 1) & 0xFF
        self._send(message)
