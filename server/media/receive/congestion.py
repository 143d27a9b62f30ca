"""Whether a publisher's path is too narrow for what it sends, and what it is granted then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from aiortc.rate import RemoteBitrateEstimator

from server.media.receive.rtp import Packet

SEND_CLOCK = 1 << 18  # abs_send_time's units per second, of 24 bits
WRAP = 1 << 24
WINDOW = 0.5  # seconds, of which the packet that waited least counts: a busy processor does not delay them all
MEMORY = 40  # windows: what waits now is compared with the least of them
STANDING = 0.05  # seconds that a queue on the path holds, from which on it is too narrow
LOSSY = 0.1  # share of packets lost, from which on it is
HOLD = 10.0  # seconds that a path is taken to be narrow after it was found so
FLOOR_SHARE = 0.25  # of the floor: the least that is granted on a narrow path
MOST_STREAMS = 31  # that an estimate names: those heard of last
BURST = 5 * SEND_CLOCK // 1000  # 5 ms: what the bitrate's estimator takes for one group


class StandingQueue:
    """Seconds that every packet has to wait on the path, by the times at which they were sent (abs_send_time)."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._first: float | None = None  # the first packet's way, on clocks that have nothing to do with each other
        self._began = 0.0
        self._least = float("inf")
        self._before: deque[float] = deque(maxlen=MEMORY)

    def add(self, abs_send_time: int, arrived: float) -> None:
        """arrived: clock seconds."""
        way = arrived - abs_send_time / SEND_CLOCK
        if self._first is None:
            self._first, self._began = way, arrived
        period = WRAP / SEND_CLOCK
        way = (way - self._first + period / 2) % period - period / 2
        self._least = min(self._least, way)
        if arrived - self._began >= WINDOW:
            self._before.append(self._least)
            self.seconds = self._least - min(self._before)
            self._began, self._least = arrived, float("inf")


class GrantedBitrate:
    """aiortc's estimate, with a floor on paths that are wide enough for it.

    aiortc takes a busy processor's delays for a congested path, goes down to nothing and needs a minute back. A path
    that is too narrow in fact loses packets, or has a queue that no packet passes by: there the estimate holds.
    """

    def __init__(self, estimator: RemoteBitrateEstimator, floor: int, loss: Callable[[], float]) -> None:
        """floor: bit/s; loss: the share of packets that the path loses now."""
        self._estimator = estimator
        self._floor = floor
        self._loss = loss
        self._queue = StandingQueue()
        self._narrow_until = float("-inf")

    def add(self, *, arrival_time_ms: int, abs_send_time: int, **packet: Any) -> tuple[int, list[int]] | None:
        """As aiortc's; bit/s and SSRCs when the publisher is to be told."""
        now = arrival_time_ms / 1000
        self._queue.add(abs_send_time, now)
        if self._queue.seconds >= STANDING or self._loss() >= LOSSY:
            self._narrow_until = now + HOLD
        ssrcs = self._estimator.ssrcs
        if len(ssrcs) >= MOST_STREAMS and packet["ssrc"] not in ssrcs:  # it forgets none by itself
            del ssrcs[next(iter(ssrcs))]
        estimate = self._estimator.add(arrival_time_ms=arrival_time_ms, abs_send_time=abs_send_time, **packet)
        if estimate is None:
            return None
        floor = self._floor if now >= self._narrow_until else int(FLOOR_SHARE * self._floor)
        if estimate[0] >= floor:
            return estimate
        self._estimator.rate_control.current_bitrate = floor
        return floor, estimate[1]


class Estimator(Protocol):
    """Of what a path carries: aiortc's RemoteBitrateEstimator is one."""

    def add(
        self, *, arrival_time_ms: int, abs_send_time: int, payload_size: int, ssrc: int
    ) -> tuple[int, list[int]] | None:
        """Takes what was sent at about one time; bit/s and SSRCs when the publisher is to be told."""


class BurstEstimate:
    """Tells an estimator of what was sent within 5 ms at once: it puts that together anyway, at a higher price."""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self._size = 0  # bytes of packets that the estimator has not heard of
        self._first = 0  # when the first of them was sent

    def add(self, packet: Packet) -> tuple[int, list[int]] | None:
        """Bit/s and SSRCs when the publisher is to be told. Packets without a time of sending tell nothing."""
        if packet.abs_send_time is None:
            return None
        if not self._size:
            self._first = packet.abs_send_time
        self._size += packet.size
        if not packet.marker and (packet.abs_send_time - self._first & WRAP - 1) < BURST:
            return None
        size, self._size = self._size, 0
        return self._estimator.add(
            arrival_time_ms=round(1000 * packet.arrived),
            abs_send_time=packet.abs_send_time,
            payload_size=size,
            ssrc=packet.ssrc,
        )
