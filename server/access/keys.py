"""API keys as they are configured: `name:secret`, the secret plain or hashed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from hime_core.errors import InputError
from server.problems import NAME_RULE, is_name

Right = Literal["tokens", "people", "observe"]  # mint tokens; everybody's photos; metrics and all rooms
RIGHTS: frozenset[Right] = frozenset(get_args(Right))
SHORT = 32  # characters, below which a plain secret is weak

SCHEME = "scrypt"
_HASHED = re.compile(rf"{SCHEME}\$[A-Za-z0-9_-]{{22}}\$[A-Za-z0-9_-]{{43}}")
# 16 MB and some 60 ms. Secrets are made of 256 random bits, which nobody could try out anyway.
_COST = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}


@dataclass(frozen=True)
class ApiKey:
    """secret: plain, or `scrypt$salt$hash`."""

    name: str = field(repr=False)
    secret: str = field(repr=False)
    rights: frozenset[Right] = RIGHTS

    @property
    def hashed(self) -> bool:
        return self.secret.startswith(f"{SCHEME}$")


def new_secret() -> str:
    """256 random bits, as text that needs no quoting."""
    return secrets.token_urlsafe(32)


def hashed(secret: str, salt: bytes | None = None) -> str:
    """`scrypt$salt$hash`, both in base64url. Takes some 60 ms: not for the event loop's thread."""
    salt = secrets.token_bytes(16) if salt is None else salt
    digest = hashlib.scrypt(secret.encode(), salt=salt, **_COST)
    return f"{SCHEME}${_text(salt)}${_text(digest)}"


def matches(secret: str, against: str) -> bool:
    """Whether `against`, a hash, is that secret's. As slow as hashed()."""
    salt = base64.urlsafe_b64decode(against.split("$")[1] + "==")
    return hmac.compare_digest(hashed(secret, salt), against)


def parse_keys(setting: str, text: str) -> tuple[ApiKey, ...]:
    """Keys with commas between, all with every right. Raises InputError naming the setting and the place, never what
    stands there."""
    entries = [entry.strip() for entry in text.split(",")] if text.strip() else []
    return tuple(_key(entry, f"{setting}: key {number}", "name:secret", 2) for number, entry in enumerate(entries, 1))


def parse_lines(setting: str, text: str) -> tuple[ApiKey, ...]:
    """Keys as a file has them: one a line, `name:secret` or `name:secret:right,right`; empty lines and those that begin
    with # are left out. Raises InputError as parse_keys() does, also where there is none."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    keys = tuple(
        _key(line, f"{setting}: line {number}", "name:secret or name:secret:rights", 3)
        for number, line in lines
        if line and not line.startswith("#")
    )
    if not keys:
        raise InputError(f"{setting}: there is no key in the file; `hime key NAME` makes one")
    return keys


def parse_rights(where: str, text: str) -> frozenset[Right]:
    """Rights with commas between. Raises InputError."""
    rights = {one.strip() for one in text.split(",")}
    if unknown := rights - RIGHTS:
        raise InputError(f"{where}: {len(unknown)} unknown right(s); there are {', '.join(sorted(RIGHTS))}")
    return frozenset(right for right in RIGHTS if right in rights)


def check_unique(keys: Iterable[ApiKey]) -> None:
    """Raises InputError where two keys have one name."""
    names = [key.name for key in keys]
    if len(set(names)) < len(names):
        raise InputError("HIME_API_KEYS, HIME_API_KEYS_FILE: two keys have the same name; each needs its own")


def _key(entry: str, where: str, form: str, most: int) -> ApiKey:
    name, *rest = entry.split(":")
    if not 2 <= 1 + len(rest) <= most or not rest[0].strip():
        raise InputError(f"{where} is not {form}; a secret holds no ':'")
    if not is_name(name):
        raise InputError(f"{where}: a key's name is {NAME_RULE}")
    secret = rest[0].strip()
    if secret.startswith(f"{SCHEME}$") and not _HASHED.fullmatch(secret):
        raise InputError(f"{where}: the hashed secret is not as `hime key NAME` prints it")
    return ApiKey(name, secret, parse_rights(where, rest[1]) if len(rest) == 2 else RIGHTS)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
