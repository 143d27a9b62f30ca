"""Finds out whether a path carries more than is sent: clusters of padding, a few milliseconds each, at a higher rate.

Without them an estimate follows what the encoder happens to send, and a watcher on the reduced layer could never show
that its path has become wide. A cluster that does not come through makes the next one wait longer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from server.media.send.pacing import Later, Timer
from server.media.send.packetize import PADDING
from server.media.send.sent import Outcome

FIRST_SHARE, SHARE = 3.0, 2.0  # of the rate: the first cluster's, and those after it
LENGTH = 0.015  # seconds of one
LEAST = 5  # packets of one
TICK = 0.002  # seconds between two lots
FIRST = 0.2  # seconds until the first one: a watcher that has just connected is busy
WAIT, MOST_WAIT = 1.0, 60.0  # seconds to the next: after one that did not come through, and after many
STEP, AGAIN = 1.2, 1.0  # times what was known, which is progress; seconds until the cluster after that
CALM = 5.0  # seconds after the path was found full
TIMEOUT = 1.0  # seconds after which a cluster is given up
GOOD = 0.8  # share of the packets that have to come, and of the rate, for a cluster to have come through
BUNCHED = 0.5  # of the time in which a cluster was sent: arrived in less, it was held up first, and proves nothing
PROVEN = 0.95  # of a rate at which a cluster came through slower than it was sent
WORTH = 0.95  # of what is wanted, from which on nothing is probed


@dataclass
class _Cluster:
    """rate: at which it is sent; known: that the path was known to carry, both in bit/s. began: clock seconds."""

    rate: float
    known: float
    packets: int
    began: float
    sent: int = 0
    came: list[Outcome] = field(default_factory=list)


class Prober:
    """Of one watcher. For the event loop's thread."""

    def __init__(
        self,
        send: Callable[[int, int], None],
        proven: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
        later: Later | None = None,
    ) -> None:
        """send: so many packets of padding, of the cluster of that number; proven: told of a rate that came through,
        bit/s; later: calls after that many seconds, the running loop's by default."""
        self._send = send
        self._proven = proven
        self._clock = clock
        self._later = asyncio.get_running_loop().call_later if later is None else later
        self._number = 0
        self._cluster: _Cluster | None = None
        self._timer: Timer | None = None
        self._wait = WAIT
        self._due = clock() + FIRST
        self._share = FIRST_SHARE

    def consider(self, rate: float, wanted: float, full: float) -> None:
        """Begins a cluster where it is time for one. rate: what the path is known to carry, bit/s; wanted: what would
        be of use; full: when the path was last found to be full, clock seconds."""
        now = self._clock()
        if self._cluster is not None:
            if now - self._cluster.began < TIMEOUT:
                return
            self._end(None)
        if rate >= WORTH * wanted or now < self._due or now < full + CALM:
            return
        probed = min(self._share * rate, 1.05 * wanted)
        self._number += 1
        self._cluster = _Cluster(probed, rate, max(LEAST, round(probed * LENGTH / 8 / PADDING)), now)
        self._lot()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """What feedback tells of packets of padding, among others."""
        cluster = self._cluster
        if cluster is None:
            return
        heard = [one for one in outcomes if one.probe == self._number and one.arrived is not None]
        cluster.came += heard
        if heard and cluster.sent == cluster.packets and len(cluster.came) >= GOOD * cluster.packets:
            self._end(_rate_of(cluster.came))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _lot(self) -> None:
        """As many packets as the rate has room for by now."""
        cluster, self._timer = self._cluster, None
        if cluster is None:
            return
        due = 1 + int((self._clock() - cluster.began) * cluster.rate / 8 / PADDING)
        count = min(due, cluster.packets) - cluster.sent
        cluster.sent += max(count, 0)
        if count > 0:
            self._send(count, self._number)
        if cluster.sent < cluster.packets:
            self._timer = self._later(TICK, self._lot)

    def _end(self, rate: float | None) -> None:
        """rate: at which the cluster came, None where it did not."""
        cluster, self._cluster = self._cluster, None
        assert cluster is not None
        if rate is not None:
            self._proven(rate)
        self._share = SHARE
        if rate is None and len(cluster.came) >= GOOD * cluster.packets:  # they were held up
            wait = AGAIN
        elif rate is None or rate < STEP * cluster.known:
            self._wait, wait = min(2 * self._wait, MOST_WAIT), self._wait
        else:  # uneven arrivals may have hidden the rest
            self._wait, wait = WAIT, 0.0 if rate >= GOOD * cluster.rate else AGAIN
        self._due = self._clock() + wait


def _rate_of(came: list[Outcome]) -> float | None:
    """Bit/s at which a cluster came through: no more than it was sent at. None where nothing can be told."""
    sent = sorted(one.sent for one in came)
    arrived = sorted(one.arrived for one in came if one.arrived is not None)
    size = 8 * sum(one.size for one in came[1:])
    left, took = sent[-1] - sent[0], arrived[-1] - arrived[0]
    if took < BUNCHED * left or left <= 0:
        return None
    return size / left if took <= left else PROVEN * size / took
