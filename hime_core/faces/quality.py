"""How much a face shows, and how usable it is as an exemplar: resolution, sharpness, pose and light."""

from __future__ import annotations

import math

import cv2
import numpy as np

from hime_core.arrays import Array
from hime_core.faces.geometry import resized

SHARPNESS_SIDE = 128
TYPICAL_RATIO = 0.056  # the median over 200 photographs reduced to 128 pixels
OCTAVES_SIDE = 256
# The detail of the octaves of 256, 128, 64 and 32 pixels over the contrast at 16, medians over 300 photographs.
TYPICAL_OCTAVES = (0.099, 0.154, 0.226, 0.314)
MOST = 1.3  # of what is typical: more is noise or a fine pattern, and tells of no more resolution


def resolved(headshot_luma: Array) -> float:
    """The pixels across a headshot, uint8 (side, side), that carry detail: about its side for a typical sharp
    photograph, less where it is blurred or flattened by a codec.

    It depends on the face and its light too, so it is to be compared between pictures of one person: on clips, pictures
    at 40 kbit/s had 0.70 to 0.86 of what the same faces had at 1500, headshots of 96 pixels 0.4 to 0.6 of those of 240.
    """
    size, octaves = OCTAVES_SIDE, 0.0
    image = resized(headshot_luma, size).astype(np.float32)
    spread = []
    while size > 16:
        half = resized(image, size // 2)
        finer = _inner(image - resized(half, size))
        spread.append(float(np.sqrt(np.square(finer).mean())))
        image, size = half, size // 2
    contrast = float(_inner(image).std()) + 1.0  # of a flat picture too
    for found, typical in zip(spread, TYPICAL_OCTAVES, strict=True):
        octaves += min(MOST, found / contrast / typical)
    return float(16 * 2.0**octaves)


def sharpness(headshot_rgb: Array) -> float:
    """How much detail a headshot (side, side, 3) has at 128 pixels: 1 is a typical sharp photograph.

    The energy of second derivatives at 128 pixels over that at 64, along the axis that has less of it, so that
    contrast, light and the face's own texture cancel out and motion blur in one direction counts. Measured on 200
    photographs, 5th to 95th percentile: as they are 0.7–1.5, enlarged from 64 pixels 0.4–0.7, from 40 pixels
    0.2–0.4, moved by 4 % of the side 0.2–0.5.
    """
    gray = cv2.cvtColor(headshot_rgb, cv2.COLOR_RGB2GRAY)
    fine = cv2.GaussianBlur(_centre(gray, SHARPNESS_SIDE), (0, 0), 0.6)
    coarse = _centre(gray, SHARPNESS_SIDE // 2)
    # A flat picture has no detail at either size; the constant is far below that of any face.
    return _curvature(fine, 3) / (_curvature(coarse, 5) + 0.05) / TYPICAL_RATIO


def _inner(image: Array) -> Array:
    """The face, without the background around it."""
    margin = image.shape[0] // 5
    return image[margin:-margin, margin:-margin]


def _centre(gray: Array, side: int) -> Array:
    # The face without the background, whose detail says nothing about it.
    method = cv2.INTER_AREA if gray.shape[0] > side else cv2.INTER_CUBIC
    margin = side // 5
    return cv2.resize(gray, (side, side), interpolation=method)[margin:-margin, margin:-margin].astype(np.float32)


def _curvature(gray: Array, size: int) -> float:
    axes = ((2, 0), (0, 2))
    weight = {3: 16, 5: 256}[size]
    return min(float(np.square(cv2.Sobel(gray, cv2.CV_32F, *axis, ksize=size)).mean()) for axis in axes) / weight


def yaw_degrees(landmarks: Array) -> float:
    """How far the head is turned, from (5, 2) landmarks: about -90..90, 0 frontal, positive towards the right edge.

    The nose stands out of the line between eyes and mouth by about 0.55 of the distance between the eyes; turning by
    an angle moves it sideways by the sine of that and shortens the distance by the cosine.
    """
    # Numbers of Python: NumPy's ways are long for so few.
    eye, other, nose, corner, opposite = (complex(x, y) for x, y in landmarks.tolist())
    eyes, mouth = (eye + other) / 2, (corner + opposite) / 2
    upright = mouth - eyes
    across = complex(upright.imag, -upright.real) / max(abs(upright), 1e-6)

    def along(vector: complex) -> float:
        return (vector * across.conjugate()).real

    width = max(along(other - eye), along(opposite - corner), 1e-6)
    return math.degrees(math.atan2(along(nose - (eyes + mouth) / 2), 0.55 * width))


def brightness(rgb: Array) -> float:
    """Mean luma (BT.601) of an RGB image, 0..1."""
    return float(np.asarray(rgb).reshape(-1, 3).mean(0) @ (0.299, 0.587, 0.114) / 255)
