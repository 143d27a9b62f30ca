"""Which API key a request brings."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from server.access.keys import ApiKey, matches

MAX_WAITING = 8  # requests that wait for their secret to be hashed
PAUSE = 0.5  # seconds after a wrong one, so that wrong ones never take more than an eighth of a core


class Busy(Exception):
    """Too many secrets wait to be hashed."""


class Keyring:
    """Compares secrets in constant time. For one event loop's thread.

    A hashed secret costs its hash once: who has shown it is known by a digest that is worth nothing outside of this
    process. One secret is hashed at a time, beside the loop, so that wrong ones slow no call.
    """

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self.keys = tuple(keys)
        self._salt = secrets.token_bytes(32)
        self._shown: dict[str, bytes] = {}  # by the key's name: the digest of a hashed secret that was right
        self._hashing = asyncio.Lock()
        self._waiting = 0

    def find_plain(self, name: str | None, secret: str) -> ApiKey | None:
        """The key with that secret, among those whose secret is known in plain; name: None where only a secret was
        given."""
        digest = self._digest(secret)
        found = [key for key in self.keys if not key.hashed and _same(self._digest(key.secret), digest)]
        return next((key for key in found if name in (None, key.name)), None)

    async def find_hashed(self, name: str | None, secret: str) -> ApiKey | None:
        """The same among the hashed ones. Raises Busy."""
        digest = self._digest(secret)
        asked = [key for key in self.keys if key.hashed and name in (None, key.name)]
        for key in asked:
            if _same(self._shown.get(key.name, b""), digest):
                return key
        if not asked:
            return None
        if self._waiting >= MAX_WAITING:
            raise Busy
        self._waiting += 1
        try:
            async with self._hashing:
                for key in asked:
                    if await asyncio.to_thread(matches, secret, key.secret):
                        self._shown[key.name] = digest
                        return key
                await asyncio.sleep(PAUSE)
        finally:
            self._waiting -= 1
        return None

    def _digest(self, secret: str) -> bytes:
        return hmac.digest(self._salt, secret.encode(errors="surrogatepass"), hashlib.sha256)


def _same(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)
