"""A number in a picture, as dark and bright blocks along its top, which survives that a relay encodes it anew."""

from __future__ import annotations

import numpy as np

from hime_core.video.picture import Picture

BITS = 12
NUMBERS = 1 << BITS
SHARE = 14 / 180  # of the picture's height that the blocks take
DARK, BRIGHT = 45, 210  # luma
UNSURE = 95, 160  # between these a block is neither


def stamped(picture: Picture, number: int) -> Picture:
    """A copy that shows the number, which is below NUMBERS."""
    y, block = picture.y.copy(), picture.width // BITS
    for bit in range(BITS):
        bright = number >> bit & 1
        y[: round(picture.height * SHARE), bit * block : (bit + 1) * block] = BRIGHT if bright else DARK
    return Picture(y, picture.u, picture.v)


def number_of(picture: Picture) -> int | None:
    """The number that a picture shows, at whatever size; None where it cannot be told."""
    height, block = max(1, round(picture.height * SHARE)), picture.width // BITS
    if block < 1:
        return None
    rows = picture.y[height // 4 : max(height // 4 + 1, 3 * height // 4)]
    middle = slice(block // 4, max(block // 4 + 1, 3 * block // 4))
    means = [float(np.mean(rows[:, bit * block : (bit + 1) * block][:, middle])) for bit in range(BITS)]
    if any(UNSURE[0] < mean < UNSURE[1] for mean in means):
        return None
    return sum((mean >= UNSURE[1]) << bit for bit, mean in enumerate(means))
