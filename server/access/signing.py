"""What tokens are signed with."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from hime_core.errors import InputError
from server.access.keys import SHORT, ApiKey
from server.private import write_private
from server.settings import Settings

FILE = "token-secret"  # in the data directory

log = logging.getLogger(__name__)


def signing_secrets(keys: Iterable[ApiKey], settings: Settings) -> dict[str, bytes]:
    """By the name of each key that may mint. Raises InputError.

    A plain secret signs itself, so that who has it can make tokens without asking the relay. Of a hashed one, the relay
    knows nothing that could sign: its tokens are signed with a secret that is derived from the relay's own and the
    hash. Either way, a new secret for the key ends all of its tokens.
    """
    minting = [key for key in keys if "tokens" in key.rights]
    own = _own(settings) if any(key.hashed for key in minting) else b""
    return {
        key.name: hmac.digest(own, key.secret.encode(), sha256) if key.hashed else key.secret.encode()
        for key in minting
    }


def _own(settings: Settings) -> bytes:
    """The relay's secret: as set, else from the data directory, where it is made once."""
    if given := settings.token_secret.get_secret_value():
        if len(given) < SHORT:
            raise InputError(f"HIME_TOKEN_SECRET: it has less than {SHORT} characters")
        return given.encode()
    path = settings.data / FILE
    try:
        return _read(path) or _made(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; or give HIME_TOKEN_SECRET") from None


def _read(path: Path) -> bytes | None:
    try:
        secret = path.read_bytes().strip()
    except FileNotFoundError:
        return None
    if len(secret) < SHORT:
        raise InputError(f"{path}: it has less than {SHORT} characters; delete it, and a new one is made")
    warn_if_open(path)
    return secret


def _made(path: Path) -> bytes:
    """Another process may do the same: the first one's counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, secrets.token_urlsafe(32) + "\n")
    made = _read(path)
    assert made is not None
    return made


def warn_if_open(path: Path) -> None:
    """Where others on this machine may read a secret."""
    if path.stat().st_mode & 0o077:
        log.warning("%s can be read by others on this machine: chmod 600 keeps its secrets", path)
