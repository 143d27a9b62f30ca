"""Any text in any HIME_* variable."""

from __future__ import annotations

from random import Random

from benchmarks.hostile.chance import digits, odd_text
from server.settings import Settings

_NEARLY = (
    "sqlite://", "sqlite:///x.db", "postgresql+psycopg://u:p@h:port/d", "postgresql://[::1",
    "mysql://h:99999999999/x", "x://", "file://", "s3://b/k", "memory://x", "stun:a", "turn:a:b:c", "stun:,turn:",
    "[", "[1]", "{}", "[{}]", '[{"urls": 1}]', '[{"urls": []}]', '[{"urls": ["stun:x"], "username": 5}]',
    "[" * 50_000, '{"a":' * 20_000, "null", "[null]", "NaN", "auto", "cuda", "cpu", "true", "http://a", "https://[",
    "*", ",", ",,,", "a:b", "a:b,c:d", "0", "-1", "1.5", "1e400", "49152-65535", "65535-49152", "1-", "127.0.0.1",
    "::", "999.0.0.1", "casia", "https://x#sha256=zz", "\ud800", "\n", "a\nb",
)  # fmt: skip


def environment(rng: Random) -> dict[str, str]:
    """Of one to three variables."""
    names = sorted(Settings.model_fields)
    return {f"HIME_{rng.choice(names).upper()}": _value(rng) for _ in range(rng.randint(1, 3))}


def _value(rng: Random) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        text = odd_text(rng)
    elif kind == 1:
        text = digits(rng)
    else:
        text = rng.choice(_NEARLY) + (odd_text(rng) if kind == 3 and rng.random() < 0.5 else "")
    return text.replace("\0", "")  # which no environment can hold
