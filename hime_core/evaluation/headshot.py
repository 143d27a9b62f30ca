"""What the metrics look at of a headshot, and the form in which they take it."""

from __future__ import annotations

import torch

from hime_core.arrays import Array
from hime_core.faces.geometry import CENTRE_ABOVE_BOX, SIDE_PER_BOX_HEIGHT


def face_square(side: int, share: float) -> tuple[int, int, int]:
    """The square around the detector's box centre in a headshot: left, top and side in pixels.

    side: of the headshot; share: of its side, at most 0.96.
    """
    inner = round(side * share)
    below = CENTRE_ABOVE_BOX / SIDE_PER_BOX_HEIGHT * side  # the headshot's centre lies above the box's
    return (side - inner) // 2, round((side - inner) / 2 + below), inner


def inner_face(headshot: Array) -> Array:
    """Eyes, nose and mouth: the square of half the headshot's side around the box's centre."""
    x, y, side = face_square(headshot.shape[0], 0.5)
    return headshot[y : y + side, x : x + side]


def unit(image: Array) -> torch.Tensor:
    """uint8 (H, W, 3) to float (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255.0
