"""Encryption of what is kept of a face: AES-256-GCM (NIST SP 800-38D), under keys that can be renewed."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.exemplars.errors import KeyUnavailable, StorageError

MAGIC = b"HIME\x01"  # begins all that is sealed, and tells the format
ID_BYTES, NONCE_BYTES = 8, 12  # random nonces are safe for 2^32 messages under one key
HEAD_BYTES = len(MAGIC) + ID_BYTES + NONCE_BYTES


class Keyring:
    """Seals with the newest key, opens with any.

    What is sealed is bound to a context, such as the photo's id: it does not open as another's.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """keys: 32 bytes each, newest first; at least one."""
        self._keys = {_id_of(key): AESGCM(key) for key in keys}
        self._newest = _id_of(keys[0])

    @property
    def newest(self) -> str:
        """The id of the key that seals, which tells nothing of the key."""
        return self._newest.hex()

    @property
    def ids(self) -> list[str]:
        return [id.hex() for id in self._keys]

    def seal(self, plain: bytes, context: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return MAGIC + self._newest + nonce + self._keys[self._newest].encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises KeyUnavailable where its key is not here, StorageError where it is not what was sealed."""
        if not is_sealed(sealed):
            raise StorageError("what is stored is not encrypted, though it should be")
        id = sealed[len(MAGIC) : len(MAGIC) + ID_BYTES]
        if id not in self._keys:
            raise KeyUnavailable(f"the key {id.hex()}, which what is stored was encrypted with, is not given")
        try:
            return self._keys[id].decrypt(
                sealed[HEAD_BYTES - NONCE_BYTES : HEAD_BYTES], sealed[HEAD_BYTES:], context.encode()
            )
        except InvalidTag:
            raise StorageError("what is stored is damaged, or was changed from outside") from None


class Pseudonyms:
    """Stands for people in the database: an HMAC of the name, by which one who knows the name finds the row.

    Its key is random, lies in the database, sealed, and stays when keys are renewed, as the audit log's entries hold
    nothing else to be found by.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, name: str) -> str:
        """128 bits in hexadecimal digits."""
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()[:32]


def is_sealed(stored: bytes) -> bool:
    return stored.startswith(MAGIC) and len(stored) > HEAD_BYTES


def _id_of(key: bytes) -> bytes:
    return hashlib.sha256(b"hime key id" + key).digest()[:ID_BYTES]
