"""Pictures as a call delivers them: the face after camera, resizing and codec, and exemplars lightly compressed.

Every function takes and gives uint8 and draws all that is random from the generator it is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from hime_core.arrays import Array
from hime_core.data.codec import CODECS, Codec, transmit
from hime_core.data.degradations import blur, jpeg

KERNELS = (Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)
# The constant quantizers that leave a face as far from its source as the rate control of a call does, measured on seven
# clips at 320x180 and 640x360 and 60 to 600 kbit/s: benchmarks/network/call_quantizers.py. Steady from the first frame
# on, they look like the middle of a call, where rate control would take seconds to settle after its keyframe.
QUANTIZERS: dict[Codec, tuple[int, int]] = {"vp8": (4, 54), "h264": (14, 42)}
# The same for headshots of 96 to 240 pixels at 20 to 300 kbit/s (--headshots 96,160,240).
NEAR_QUANTIZERS: dict[Codec, tuple[int, int]] = {"vp8": (10, 58), "h264": (20, 50)}


@dataclass(frozen=True)
class CallOptions:
    """near: share of faces that are sent with more pixels than the network takes and reduced to those afterwards;
    steady: share of these whose exemplars, and so what there is to be seen, have no more pixels than was sent;
    frames: coded up to the one that is kept, near_frames: of near faces; margin: pixels of surroundings on each side of
    the face, as sent; blur: largest sigma in pixels as sent; noise: largest deviation in grey levels; coarseness: where
    in QUANTIZERS, or in NEAR_QUANTIZERS, from finest 0 to coarsest 1; clean: share left uncompressed."""

    near: float = 0.6
    steady: float = 0.5
    frames: tuple[int, int] = (2, 5)
    near_frames: tuple[int, int] = (2, 8)
    margin: tuple[int, int] = (8, 24)
    blur: float = 0.7
    noise: float = 3.0
    coarseness: tuple[float, float] = (0.0, 1.0)
    clean: float = 0.05

    def quantizer(self, codec: Codec, rng: np.random.Generator, near: bool = False) -> int:
        finest, coarsest = (NEAR_QUANTIZERS if near else QUANTIZERS)[codec]
        return round(finest + (coarsest - finest) * rng.uniform(*self.coarseness))


FEWEST = 72  # pixels of an exemplar's headshot
CALL = CallOptions()
KEPT = CallOptions(noise=2.0, coarseness=(0.0, 0.5))  # what an exemplar went through: close faces get bits enough


def draw_native(side: int, whole: int, rng: np.random.Generator, options: CallOptions = CALL) -> int | None:
    """Pixels that a near face is sent with, from side to whole, as often in each octave; None for a far one."""
    return round(side * (whole / side) ** rng.random()) if rng.random() < options.near else None


def call_lr(
    moments: Sequence[Array],
    side: int,
    rng: np.random.Generator,
    options: CallOptions = CALL,
    native: int | None = None,
) -> Array:
    """The last of `moments` as the network is given it, (side, side, 3), aligned with it to the pixel.

    moments: RGB (S, S, 3), one picture, or consecutive frames of a clip; S at least side. They are moved along a
    smooth path that ends where the last one lies, so that the codec predicts as it does in a call. A far face is sent
    with `side` pixels; a near one with `native`, side to S, and reduced by area after the codec.
    """
    near, whole = native is not None, moments[-1].shape[0]
    native = native or side
    fewest, most = options.near_frames if near else options.frames
    count = max(len(moments), int(rng.integers(fewest, most + 1)))
    left, right, top, bottom = (int(v) for v in rng.integers(options.margin[0], options.margin[1] + 1, 4))
    right, bottom = right + (left + right + native) % 2, bottom + (top + bottom + native) % 2
    size = (native + left + right, native + top + bottom)
    kernel = KERNELS[rng.integers(len(KERNELS))]
    sigma = options.blur * rng.uniform(0.3, 1.0) if rng.random() < 0.4 else 0.0
    noise = _Noise(rng, options.noise)
    scale = whole / native
    borders = [math.ceil(v * scale) for v in (top, bottom, left, right)]
    x, y = borders[2] - left * scale, borders[0] - top * scale
    seen = (x, y, x + size[0] * scale, y + size[1] * scale)  # of a canvas, in its pixels
    canvases = [_surround(m, borders) for m in moments]
    path = _path(count, whole, rng)
    frames = []
    for number, move in enumerate(path):
        canvas = canvases[max(0, number - count + len(moments))]
        if number < count - 1:
            extent = canvas.shape[1::-1]
            canvas = cv2.warpAffine(canvas, _about_centre(move, extent), extent, borderMode=cv2.BORDER_REPLICATE)
        frame = np.asarray(Image.fromarray(canvas).resize(size, kernel, seen))
        frame = noise.add(blur(frame, sigma) if sigma else frame)
        frames.append(np.ascontiguousarray(frame))
    if rng.random() >= options.clean:
        codec = CODECS[rng.integers(len(CODECS))]
        frames = transmit(frames, codec, options.quantizer(codec, rng, near))
    face = np.ascontiguousarray(frames[-1][top : top + native, left : left + native])
    return face if native == side else cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)


def softened(rgb: Array, native: int) -> Array:
    """What is left of a square picture in `native` pixels, at the size it had."""
    side = rgb.shape[0]
    if native >= side:
        return rgb
    small = cv2.resize(rgb, (native, native), interpolation=cv2.INTER_AREA)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def call_reference(
    rgb: Array, rng: np.random.Generator, options: CallOptions = KEPT, native: int | None = None
) -> Array:
    """An exemplar of the call or a photo, the size it has: at times a little soft or noisy, lightly compressed by one
    frame of a codec at good quality or by JPEG. native: of a call in which the person stays about where he is."""
    side = rgb.shape[0]
    if native:
        native = min(side, round(native * rng.uniform(0.9, 1.15))) & ~1
        rgb = cv2.resize(rgb, (native, native), interpolation=cv2.INTER_AREA)
    elif rng.random() < 0.45:  # a headshot of fewer pixels than the network takes, enlarged
        least = min(0.95, max(0.25, FEWEST / side))
        native = int(side * least * (0.95 / least) ** rng.random()) & ~1
        rgb = cv2.resize(rgb, (native, native), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        rgb = _Noise(rng, options.noise).add(rgb)
    kind = rng.random()
    if kind < 0.35:
        codec = CODECS[rng.integers(len(CODECS))]
        even = rgb[: rgb.shape[0] & ~1, : rgb.shape[1] & ~1]
        rgb = transmit([np.ascontiguousarray(even)], codec, options.quantizer(codec, rng))[0]
    elif kind < 0.85:
        rgb = jpeg(rgb, int(rng.integers(60, 97)))
    return rgb if rgb.shape[0] == side else cv2.resize(rgb, (side, side), interpolation=cv2.INTER_CUBIC)


class _Noise:
    """A camera's: independent in every frame, white or smoothed by the camera's own filter."""

    def __init__(self, rng: np.random.Generator, largest: float) -> None:
        self._rng = rng
        self._sigma = largest * rng.uniform(0.1, 1.0) if rng.random() < 0.7 else 0.0
        self._smooth = rng.random() < 0.5

    def add(self, image: Array) -> Array:
        if not self._sigma:
            return image
        grain = self._rng.standard_normal(image.shape, np.float32)
        if self._smooth:  # the filter leaves about 0.4 of the deviation
            grain = cv2.GaussianBlur(grain, (0, 0), 0.7) * np.float32(2.5)
        return cv2.add(image, grain * np.float32(self._sigma), dtype=cv2.CV_8U)


def _surround(rgb: Array, borders: Sequence[int]) -> Array:
    """The picture within (top, bottom, left, right) pixels of a background like its own edges, out of focus."""
    top, bottom, left, right = borders
    height, width = rgb.shape[:2]
    tiny = cv2.resize(rgb, (16, 16), interpolation=cv2.INTER_AREA)
    above, below, before, behind = (max(1, round(16 * v / height)) for v in borders)
    tiny = cv2.copyMakeBorder(tiny, above, below, before, behind, cv2.BORDER_REFLECT_101)
    canvas: Array = cv2.resize(tiny, (width + left + right, height + top + bottom), interpolation=cv2.INTER_LINEAR)
    canvas[top : top + height, left : left + width] = rgb
    return canvas


def _path(count: int, side: int, rng: np.random.Generator) -> Array:
    """(count, 4): shift x, y in pixels, turn in radians, logarithm of the scale; a drift and a tremor, 0 at the end."""
    step = np.array([0.004 * side, 0.004 * side, 0.004, 0.002]) * rng.uniform(0.0, 2.0)
    drift = rng.standard_normal(4) * step
    moves = drift + 0.5 * rng.standard_normal((count - 1, 4)) * step
    return np.concatenate([-np.cumsum(moves[::-1], axis=0)[::-1], np.zeros((1, 4))])


def _about_centre(move: Array, size: tuple[int, int]) -> Array:
    x, y, turn, log_scale = move
    matrix = cv2.getRotationMatrix2D(((size[0] - 1) / 2, (size[1] - 1) / 2), np.degrees(turn), float(np.exp(log_scale)))
    matrix[:, 2] += (x, y)
    return matrix
