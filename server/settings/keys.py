"""Keys as they are written in settings and files."""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

KEY_BYTES = 32  # AES-256


def parse_keys(text: str) -> tuple[bytes, ...]:
    """The keys in a text, newest first: 32 bytes each in URL-safe base64, with commas or white space between.

    Raises ValueError, which says which of them is wrong and never what it was.
    """
    written = [part for part in re.split(r"[,\s]+", text) if part]
    if not written:
        raise ValueError("no key is given; `hime data key` makes one")
    keys = [_decoded(part) for part in written]
    for number, key in enumerate(keys, 1):
        if key is None or len(key) != KEY_BYTES:
            raise ValueError(f"key {number} is not {KEY_BYTES} bytes in URL-safe base64; `hime data key` makes one")
    return tuple(key for key in keys if key is not None)


def write_key(key: bytes) -> str:
    return urlsafe_b64encode(key).decode()


def _decoded(text: str) -> bytes | None:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
