"""A relay with API keys, and callers with every kind of right, for the tests of its access."""

from __future__ import annotations

import base64
import time

from server.access.tokens import Grant, Token, Tokens

SECRET = "a-secret-of-the-test-that-is-long-enough"
DAY = 86400  # tests may run long after the module was loaded
KEYS = {right: f"{right}-{SECRET}" for right in ("tokens", "people", "observe")}


def write_keys(path) -> str:
    """A file of keys: one of each right, named after it."""
    path.write_text("".join(f"{right}:{secret}:{right}\n" for right, secret in KEYS.items()))
    path.chmod(0o600)
    return str(path)


def signer(secret=KEYS["tokens"], key="tokens", clock=time.time) -> Tokens:
    return Tokens({key: secret.encode()}, clock)


def token(
    name="ann", room="r", *, seconds=DAY, key="tokens", secret=KEYS["tokens"], persons=(), guest=False, clock=time.time,
    **rights,
) -> str:  # fmt: skip
    """Signed with the key `tokens`, for whoever has the given rights in the room."""
    made = Token(key, name, Grant(room, **rights), time.time() + seconds, frozenset(persons), guest)
    return signer(secret, key, clock).mint(made)


def bearer(shown: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {shown}"}


def basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}
