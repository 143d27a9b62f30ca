"""The headshot: the square around a face that HIME is trained on and works on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SIDE_PER_BOX_HEIGHT = 1.69
CENTRE_ABOVE_BOX = 0.03
LR_SIDES = (16, 32, 48, 64, 80, 96)


@dataclass(frozen=True)
class Box:
    """A detector's face box in pixels, from its top left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True)
class Headshot:
    """An axis-aligned square around a face: centre and side in pixels."""

    cx: float
    cy: float
    side: float


@dataclass(frozen=True)
class LrSquare:
    """The whole-pixel square that the network takes at the frame's own scale.

    x, y: top left corner, which may lie outside the frame; side: one of LR_SIDES;
    growth: side over the headshot's side, at least 1.
    """

    x: int
    y: int
    side: int
    growth: float


def headshot_of(box: Box) -> Headshot:
    """The headshot of an MTCNN box: 1.69 box heights wide, centred 0.03 of them above the box."""
    cx, cy = box.centre
    return Headshot(cx, cy - CENTRE_ABOVE_BOX * box.height, SIDE_PER_BOX_HEIGHT * box.height)


def lr_square(headshot: Headshot) -> LrSquare | None:
    """The headshot grown to the next side the network takes, or None above the largest."""
    side = next((side for side in LR_SIDES if side >= headshot.side), None)
    if side is None:
        return None
    x = round(headshot.cx - side / 2)
    y = round(headshot.cy - side / 2)
    return LrSquare(x, y, side, side / headshot.side)


def crop(image: np.ndarray, x: int, y: int, side: int) -> np.ndarray:
    """The square (side, side[, channels]) from (x, y), edge pixels replicated past the border."""
    height, width = image.shape[:2]
    left, top = max(0, -x), max(0, -y)
    right, bottom = max(0, x + side - width), max(0, y + side - height)
    if not (left or top or right or bottom):
        return image[y : y + side, x : x + side].copy()
    padded = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE)
    return padded[y + top : y + top + side, x + left : x + left + side].copy()


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a.width * a.height + b.width * b.height - shared)
