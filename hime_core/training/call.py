"""Pictures as a call delivers them: the far face after camera, resizing and codec, and exemplars lightly compressed.

Every function takes and gives uint8 and draws all that is random from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from hime_core.training.codec import CODECS, Codec, transmit
from hime_core.training.degradations import blur, jpeg

KERNELS = (Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)
# The constant quantizers that leave a face as far from its source as the rate control of a call does, measured on seven
# clips at 320x180 and 640x360 and 60 to 600 kbit/s: benchmarks/call_quantizers.py. Steady from the first frame on, they
# look like the middle of a call, where rate control would take seconds to settle after its keyframe.
QUANTIZERS: dict[Codec, tuple[int, int]] = {"vp8": (4, 54), "h264": (14, 42)}


@dataclass(frozen=True)
class CallOptions:
    """frames: coded up to the one that is kept; margin: pixels of surroundings on each side of the face, LR;
    blur: largest sigma in LR pixels; noise: largest deviation in grey levels; coarseness: where in QUANTIZERS, from
    finest 0 to coarsest 1; clean: share left uncompressed."""

    frames: tuple[int, int] = (2, 5)
    margin: tuple[int, int] = (8, 24)
    blur: float = 0.7
    noise: float = 3.0
    coarseness: tuple[float, float] = (0.0, 1.0)
    clean: float = 0.05

    def quantizer(self, codec: Codec, rng: np.random.Generator) -> int:
        finest, coarsest = QUANTIZERS[codec]
        return round(finest + (coarsest - finest) * rng.uniform(*self.coarseness))


CALL = CallOptions()
KEPT = CallOptions(noise=2.0, coarseness=(0.0, 0.5))  # what an exemplar went through: close faces get bits enough


def call_lr(
    moments: Sequence[np.ndarray], side: int, rng: np.random.Generator, options: CallOptions = CALL
) -> np.ndarray:
    """The last of `moments` as the relay's decoder gives it, (side, side, 3), aligned with it to the pixel.

    moments: RGB (S, S, 3), one picture, or consecutive frames of a clip; S a multiple of side. They are moved along a
    smooth path that ends where the last one lies, so that the codec predicts as it does in a call.
    """
    scale = moments[-1].shape[0] // side
    count = max(len(moments), int(rng.integers(options.frames[0], options.frames[1] + 1)))
    left, right, top, bottom = (int(v) for v in rng.integers(options.margin[0], options.margin[1] + 1, 4))
    right, bottom = right + (left + right + side) % 2, bottom + (top + bottom + side) % 2
    kernel = KERNELS[rng.integers(len(KERNELS))]
    sigma = options.blur * rng.uniform(0.3, 1.0) if rng.random() < 0.4 else 0.0
    noise = _Noise(rng, options.noise)
    canvases = [_surround(m, [v * scale for v in (top, bottom, left, right)]) for m in moments]
    path = _path(count, side * scale, rng)
    frames = []
    for number, move in enumerate(path):
        canvas = canvases[max(0, number - count + len(moments))]
        if number < count - 1:
            size = canvas.shape[1::-1]
            canvas = cv2.warpAffine(canvas, _about_centre(move, size), size, borderMode=cv2.BORDER_REPLICATE)
        small = Image.fromarray(canvas).resize((canvas.shape[1] // scale, canvas.shape[0] // scale), kernel)
        frame = np.asarray(small)
        frame = noise.add(blur(frame, sigma) if sigma else frame)
        frames.append(np.ascontiguousarray(frame))
    if rng.random() >= options.clean:
        codec = CODECS[rng.integers(len(CODECS))]
        frames = transmit(frames, codec, options.quantizer(codec, rng))
    return np.ascontiguousarray(frames[-1][top : top + side, left : left + side])


def call_reference(rgb: np.ndarray, rng: np.random.Generator, options: CallOptions = KEPT) -> np.ndarray:
    """An exemplar of the call or a photo, the size it has: at times a little soft or noisy, lightly compressed by one
    frame of a codec at good quality or by JPEG."""
    side = rgb.shape[0]
    if rng.random() < 0.3:  # a headshot of fewer pixels than the network takes, enlarged
        native = int(side * rng.uniform(0.55, 0.95)) & ~1
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

    def add(self, image: np.ndarray) -> np.ndarray:
        if not self._sigma:
            return image
        grain = self._rng.standard_normal(image.shape, np.float32)
        if self._smooth:  # the filter leaves about 0.4 of the deviation
            grain = cv2.GaussianBlur(grain, (0, 0), 0.7) * np.float32(2.5)
        return cv2.add(image, grain * np.float32(self._sigma), dtype=cv2.CV_8U)


def _surround(rgb: np.ndarray, borders: Sequence[int]) -> np.ndarray:
    """The picture within (top, bottom, left, right) pixels of a background like its own edges, out of focus."""
    top, bottom, left, right = borders
    height, width = rgb.shape[:2]
    tiny = cv2.resize(rgb, (16, 16), interpolation=cv2.INTER_AREA)
    pads = [max(1, round(16 * v / height)) for v in borders]
    tiny = cv2.copyMakeBorder(tiny, *pads, cv2.BORDER_REFLECT_101)
    canvas = cv2.resize(tiny, (width + left + right, height + top + bottom), interpolation=cv2.INTER_LINEAR)
    canvas[top : top + height, left : left + width] = rgb
    return canvas


def _path(count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 4): shift x, y in pixels, turn in radians, logarithm of the scale; a drift and a tremor, 0 at the end."""
    step = np.array([0.004 * side, 0.004 * side, 0.004, 0.002]) * rng.uniform(0.0, 2.0)
    drift = rng.standard_normal(4) * step
    moves = drift + 0.5 * rng.standard_normal((count - 1, 4)) * step
    return np.concatenate([-np.cumsum(moves[::-1], axis=0)[::-1], np.zeros((1, 4))])


def _about_centre(move: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    x, y, turn, log_scale = move
    matrix = cv2.getRotationMatrix2D(((size[0] - 1) / 2, (size[1] - 1) / 2), np.degrees(turn), float(np.exp(log_scale)))
    matrix[:, 2] += (x, y)
    return matrix
