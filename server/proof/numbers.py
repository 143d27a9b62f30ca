"""Frames that carry their own number, so that a watcher can tell which of the sent ones it sees."""

from __future__ import annotations

import numpy as np

from hime_core.arrays import U8

COUNTER_BITS = 12


def numbered(width: int, height: int, number: int) -> U8:
    """Luma (height, width) with the number in one row of blocks at the top, over a moving ramp."""
    ramp = (np.arange(width)[None, :] + np.arange(height)[:, None] + 3 * number) % 200 + 25
    luma = ramp.astype(np.uint8)
    block = width // COUNTER_BITS
    for bit in range(COUNTER_BITS):
        luma[: height // 4, bit * block : (bit + 1) * block] = 210 if number >> bit & 1 else 45
    return luma


def number_in(luma: U8) -> int:
    """The number in a received frame's luma, at whatever size it was shown."""
    block = luma.shape[1] // COUNTER_BITS
    row = luma[luma.shape[0] // 8]
    return sum((int(row[bit * block + block // 2]) > 128) << bit for bit in range(COUNTER_BITS))
