"""The headshot: the square around a face that HIME is trained on and works on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2

from hime_core.arrays import Array

SIDE_PER_BOX_HEIGHT = 1.69
CENTRE_ABOVE_BOX = 0.03
LR_SIDES = (16, 32, 48, 64, 80, 96)
MARGIN = 1.1  # of a square over its headshot where the face is reduced: detail fades out beyond the headshot, not in it


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
class FaceSquare:
    """A whole-pixel square of a frame: that of a face which is enhanced, where nothing else is said.

    x, y: top left corner, which may lie outside the frame; side: pixels of the frame. Up to the largest of LR_SIDES it
    is one of them, and the network takes it as it is; a larger one is reduced to one of them.
    """

    x: int
    y: int
    side: int


def headshot_of(box: Box) -> Headshot:
    """The headshot of an MTCNN box: 1.69 box heights wide, centred 0.03 of them above the box."""
    cx, cy = box.centre
    return Headshot(cx, cy - CENTRE_ABOVE_BOX * box.height, SIDE_PER_BOX_HEIGHT * box.height)


def face_square(headshot: Headshot) -> FaceSquare:
    """The square around a headshot: grown to the next of LR_SIDES, or by MARGIN to an even side where that is larger
    than all of them."""
    side = next((side for side in LR_SIDES if side >= headshot.side), 2 * math.ceil(MARGIN * headshot.side / 2))
    return FaceSquare(round(headshot.cx - side / 2), round(headshot.cy - side / 2), side)


def own_square(headshot: Headshot) -> FaceSquare:
    """The square nearest to the headshot itself."""
    side = max(1, round(headshot.side))
    return FaceSquare(round(headshot.cx - side / 2), round(headshot.cy - side / 2), side)


def resized(image: Array, side: int) -> Array:
    """A square image (n, n[, channels]) at (side, side): by area where that is smaller, else bicubic."""
    if image.shape[0] == side:
        return image
    method = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image, (side, side), interpolation=method)


def crop(image: Array, x: int, y: int, side: int) -> Array:
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
