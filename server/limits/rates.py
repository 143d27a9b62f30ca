"""How often one address may do something: token buckets, in a table that does not grow and holds no name."""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from server.problems import Problem

MOST_KEYS = 4096  # that a limit remembers; those not heard of for longest go first

Count = Callable[[str], None]  # counts a refusal by its reason, a fixed word


def uncounted(reason: str) -> None:
    """For where nobody counts."""


def network(address: str) -> str:
    """What an address is counted under: itself, or for IPv6 its /64, of which one host has all."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return f"{IPv6Address(int(ip) >> 64 << 64)}/64"
    return str(ip)


class RateLimit:
    """`per_minute` events for each key, as many at once, and then as they come back. For one thread."""

    def __init__(
        self, per_minute: int, clock: Callable[[], float] = time.monotonic, most_keys: int = MOST_KEYS
    ) -> None:
        self.per_minute = per_minute
        self._rate = per_minute / 60
        self._clock, self._most_keys = clock, most_keys
        # Keys may be names, which are to be gone when a person is deleted: digests under a key of this process's.
        self._secret = secrets.token_bytes(16)
        self._used: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # of the allowance, and when; oldest first

    def __len__(self) -> int:
        """Keys that are remembered."""
        return len(self._used)

    def wait(self, key: str) -> float:
        """Seconds until the key may go on; 0 where it may now."""
        return max(0.0, (self._now_used(key) - self.per_minute + 1) / self._rate)

    def take(self, key: str) -> float:
        """As `wait`; where that is 0, the event counts."""
        wait = self.wait(key)
        if wait == 0:
            self.count(key)
        return wait

    def count(self, key: str) -> None:
        """The event has taken place, allowed or not."""
        now, digest = self._clock(), self._digest(key)
        self._used[digest] = min(self._now_used(key) + 1, float(self.per_minute)), now
        self._used.move_to_end(digest)
        while len(self._used) > self._most_keys or self._oldest_is_over(now):
            self._used.popitem(last=False)

    def _now_used(self, key: str) -> float:
        used, since = self._used.get(self._digest(key), (0.0, 0.0))
        return max(0.0, used - (self._clock() - since) * self._rate)

    def _digest(self, key: str) -> bytes:
        return hashlib.blake2b(key.encode(), key=self._secret, digest_size=16).digest()

    def _oldest_is_over(self, now: float) -> bool:
        used, since = next(iter(self._used.values()))
        return used <= (now - since) * self._rate


class AddressLimit:
    """A rate limit that is refused with 429. `what` names the events, in the plural, and `remedy` what helps."""

    def __init__(
        self,
        rate: RateLimit,
        reason: str,
        what: str,
        remedy: str,
        refused: Count = uncounted,
        of: str = "from one address",
    ) -> None:
        self._rate, self._reason, self._refused = rate, reason, refused
        self._detail = f"Too many {what}: at most {rate.per_minute} a minute are taken {of}. {remedy}"

    def take(self, key: str) -> None:
        """Counts one. Raises Problem 429 where there have been too many."""
        if wait := self._rate.take(network(key)):
            raise self._problem(wait)

    def _problem(self, wait: float) -> Problem:
        self._refused(self._reason)
        return Problem(429, self._detail, {"Retry-After": str(math.ceil(wait))}, kind="too-often")


class FailedTokens(AddressLimit):
    """Wrong tokens by address.

    A wrong token calls `failed`, which raises once there were too many. `check` is for before a token is looked at
    where that is dear: it also stops those with a right token behind the same address.
    """

    def __init__(self, rate: RateLimit, refused: Count = uncounted) -> None:
        super().__init__(
            rate, "failed_tokens", "requests with a wrong token", "Wait, and ask for a new invitation.", refused
        )

    def check(self, address: str) -> None:
        """Raises Problem 429 where too many have failed."""
        if wait := self._rate.wait(network(address)):
            raise self._problem(wait)

    def failed(self, address: str) -> None:
        """Counts a wrong token. Raises Problem 429 where too many have failed before."""
        self.take(address)
