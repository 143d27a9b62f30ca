"""What all generators share: numbers at the edges, odd characters, and damage to bytes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

EDGES = (0, 1, 2, 7, 15, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32)
HUGE = (-1, -(2**31), 2**63, 2**64, 10**30, 10**400)
ODD_TEXT = (
    "", " ", "\t", "\0", "\x0b", "\x1c", "\x85", "\u2028", "\ufeff", "é", "\U0001f600", "\u0661\u0662", "\u202e",
    "%s", "%00", "../", "'", '"', "\\", "<script>", "{}", "[", ":", "/", ";", "=", "1e309", "nan", "0x10", "1_0",
    "+1", "-0",
)  # fmt: skip


def number(rng: Random) -> int:
    """One that parsers may take for another."""
    return rng.choice(EDGES + HUGE) if rng.random() < 0.7 else rng.getrandbits(32)


def digits(rng: Random) -> str:
    """A number as text, at times of more digits than Python reads."""
    return "9" * 5000 if rng.random() < 0.02 else str(number(rng))


def noise(rng: Random, size: int) -> bytes:
    """One draw, however many bytes."""
    return Random(rng.getrandbits(32)).randbytes(size)


def odd_text(rng: Random) -> str:
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(ODD_TEXT) * rng.choice((1, 2, 300))
    if kind == 1:
        return digits(rng)
    if kind == 2:
        return noise(rng, rng.choice((1, 8, 100))).decode("latin-1")
    if kind == 3:
        return "".join(rng.choice(ODD_TEXT) for _ in range(3))
    return "a" * rng.choice((1, 64, 65, 256, 257, 70_000))


def damaged(rng: Random, data: bytes, most: int = 4) -> bytes:
    """Cut, flipped, doubled, overwritten."""
    for _ in range(rng.randint(1, most)):
        if not data:
            return data
        at = rng.randrange(len(data))
        match rng.randrange(6):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 2:
                data = data[:at] + noise(rng, rng.choice((1, 2, 4, 16))) + data[at + 1 :]
            case 3:
                data = data[:at] + data[at // 2 :]
            case 4:
                data = data[:at] + bytes([rng.choice((0, 0x7F, 0x80, 0xFF))]) * rng.choice((1, 2, 4)) + data[at + 1 :]
            case 5:
                data = data[at:]
    return data


def spread(seed: str, index: int) -> Random:
    """The chance of the index-th case."""
    return Random(f"{seed}/{index}")


def pick_some(rng: Random, things: Sequence[int], most: int) -> list[int]:
    return [rng.choice(things) for _ in range(rng.randint(1, most))]
