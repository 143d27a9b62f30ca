"""One picture of a person: what the bank holds, and what makes a face fit to be one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from hime_core.arrays import F32, U8, Array
from hime_core.faces.geometry import Box, Headshot, crop, headshot_of, own_square
from hime_core.faces.quality import brightness, resolved, sharpness, yaw_degrees

LONGEST_SIDE = 768
CLEAN_STEP = 12.0  # quantizer step up to which a codec leaves a face as it is


@dataclass(frozen=True)
class Requirements:
    """What a picture of a face must have to become an exemplar. side: of the headshot, pixels; sharpness: as
    faces.quality has it; yaw: how far the head may be turned, degrees."""

    side: float
    sharpness: float
    yaw: float


# Below a side of 48, landmarks are too coarse to lay anything over. Measured: faces in real calls have a sharpness of
# 0.45 to 1.2, blurred by motion below 0.3.
OF_CALL = Requirements(side=48, sharpness=0.3, yaw=35)
OF_PHOTO = Requirements(side=128, sharpness=0.45, yaw=45)  # one picks the photos: they may be asked for more


@dataclass(frozen=True, eq=False)
class Exemplar:
    """One picture of the person.

    image: RGB uint8, the surroundings of the headshot, up to twice its side, longest side at most 768; headshot and
    landmarks (5, 2) float32 lie in its pixels. yaw in degrees, light 0..1. frame: the stream's frame number at
    admission, 0 for a photo; time: clock seconds at admission. resolved: pixels across the headshot that carry detail
    (faces.quality.resolved), less what a coarse quantizer is known to have taken; step: that quantizer's, grey levels.
    sighting: the unbroken view of a face that it was taken from, 0 for a photo.
    """

    id: str
    image: U8
    headshot: Headshot
    landmarks: F32
    sharpness: float
    yaw: float
    light: float
    source: Literal["call", "photo"]
    frame: int
    time: float
    resolved: float
    step: float | None = None
    sighting: int = 0

    @property
    def native_px(self) -> int:
        return round(self.headshot.side)


def cut_exemplar(
    rgb: Array,
    box: Box,
    landmarks: Array,
    id: str,
    source: Literal["call", "photo"],
    frame: int,
    time: float,
) -> Exemplar:
    """The exemplar of a face in a (height, width, 3) uint8 image: a copy of its surroundings, and what they measure."""
    headshot = headshot_of(box)
    height, width = rgb.shape[:2]
    left, right = (min(max(0, round(headshot.cx + way * headshot.side)), width) for way in (-1, 1))
    top, bottom = (min(max(0, round(headshot.cy + way * headshot.side)), height) for way in (-1, 1))
    region = rgb[top:bottom, left:right]
    scale = min(1.0, LONGEST_SIDE / max(region.shape[:2]))
    if scale < 1:
        size = (max(1, round(region.shape[1] * scale)), max(1, round(region.shape[0] * scale)))
        image: Array = cv2.resize(region, size, interpolation=cv2.INTER_AREA)
    else:
        image = region.copy()
    own = own_square(headshot)
    square = crop(rgb, own.x, own.y, own.side)
    points = (landmarks - (left, top) + 0.5) * scale - 0.5
    place = Headshot((headshot.cx - left) * scale, (headshot.cy - top) * scale, headshot.side * scale)
    return Exemplar(
        id=id,
        image=image,
        headshot=place,
        landmarks=points.astype(np.float32),
        sharpness=sharpness(square),
        yaw=yaw_degrees(landmarks),
        light=brightness(square),
        source=source,
        frame=frame,
        time=time,
        resolved=resolution_of(rgb, headshot),
    )


def resolution_of(rgb: Array, headshot: Headshot) -> float:
    """The pixels across a headshot in a picture that carry detail (faces.quality.resolved)."""
    own = own_square(headshot)
    return resolved(cv2.cvtColor(crop(rgb, own.x, own.y, own.side), cv2.COLOR_RGB2GRAY))


def inside(box: Box, width: int, height: int) -> bool:
    """Whether a box lies within an image, give or take 2 % of its height."""
    slack = 0.02 * box.height
    return (
        box.x >= -slack
        and box.y >= -slack
        and box.x + box.width <= width + slack
        and box.y + box.height <= height + slack
    )


def roll_degrees(landmarks: Array) -> float:
    """How far the head leans to a side: the angle between the eyes-to-mouth line and the vertical, degrees."""
    x, y = landmarks[3:].mean(0) - landmarks[:2].mean(0)
    return float(np.degrees(np.arctan2(-x, y)))


def plausible(landmarks: Array, box: Box) -> bool:
    """Whether five landmarks can be those of the face in a box."""
    if not np.isfinite(landmarks).all():
        return False
    inner = (landmarks - (box.x, box.y)) / (box.width, box.height)
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    apart = float(np.hypot(*(mouth - eyes))) / box.height
    ordered = landmarks[0, 0] < landmarks[1, 0] and landmarks[3, 0] < landmarks[4, 0]
    return bool((inner > -0.15).all() and (inner < 1.15).all() and ordered and 0.2 < apart < 0.65)


def kept(step: float | None) -> float:
    """The share of its resolution that a face keeps, as far as the quantizer tells: what looks like detail in a picture
    that was quantized coarsely is in part the codec's own."""
    return 1.0 if step is None else min(1.0, (CLEAN_STEP / max(step, 1e-3)) ** 0.25)
