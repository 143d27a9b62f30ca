"""What cameras and codecs do to pictures, for training. Every function takes and gives uint8 (H, W[, 3])."""

from __future__ import annotations

import cv2
import numpy as np

from hime_core.arrays import Array

# How far `turn`, `relight` and `tint` go; `vary` does the same to a batch on the device.
TURN, GROWTH, SHIFT = np.deg2rad(10), 0.1, 0.04  # radians, log of the scale, shares of the side
FIELD, KNOTS = 0.012, 5  # standard deviation of the smooth field, shares of the side, and its points each way
GAMMA, GAIN, OFFSET = 0.29, (0.8, 1.2), 16  # log of gamma; of contrast; grey levels
TINT = (0.85, 1.15)


def noise(image: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Gaussian noise of standard deviation sigma, in grey levels."""
    return np.clip(image + rng.normal(0.0, sigma, image.shape), 0, 255).round().astype(np.uint8)


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur, sigma in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def jpeg(image: Array, quality: int) -> Array:
    """JPEG with 4:2:0 chroma, quality 1..100: block artefacts of the kind that video keyframes have."""
    _, data = cv2.imencode(".jpg", image[..., ::-1] if image.ndim == 3 else image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    found = decoded(data, cv2.IMREAD_UNCHANGED)
    return found[..., ::-1] if image.ndim == 3 else found


def decoded(data: bytes | Array, form: int = cv2.IMREAD_COLOR) -> Array:
    """The picture of an image file's bytes, uint8; form: of OpenCV's. Raises ValueError where there is none."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), form)
    if picture is None:
        raise ValueError("a picture cannot be decoded; its file is damaged")
    return picture


def relight(image: Array, rng: np.random.Generator) -> Array:
    """Another exposure and contrast: gamma 0.75..1.33, gain 0.8..1.2, offset within 16 grey levels."""
    gamma, gain = np.exp(rng.uniform(-GAMMA, GAMMA)), rng.uniform(*GAIN)
    table = 255.0 * gain * (np.arange(256) / 255.0) ** gamma + rng.uniform(-OFFSET, OFFSET)
    return cv2.LUT(image, np.clip(table, 0, 255).round().astype(np.uint8))


def tint(rgb: Array, rng: np.random.Generator) -> Array:
    """Another white balance: each channel times 0.85..1.15."""
    return np.clip(rgb * rng.uniform(*TINT, 3), 0, 255).round().astype(np.uint8)


def degrade_lr(lr: Array, rng: np.random.Generator) -> Array:
    """A little of what an uplink adds to a clean LR picture: blur, sensor noise, compression."""
    if rng.random() < 0.3:
        lr = blur(lr, rng.uniform(0.3, 0.7))
    if rng.random() < 0.6:
        lr = noise(lr, rng.uniform(0.5, 5.0), rng)
    if rng.random() < 0.8:
        lr = jpeg(lr, int(rng.integers(45, 96)))
    return lr


def degrade_reference(luma: Array, rng: np.random.Generator) -> Array:
    """Exemplars come from the call too: lightly compressed, at times a little noisy or soft."""
    if rng.random() < 0.25:
        luma = blur(luma, rng.uniform(0.3, 0.8))
    if rng.random() < 0.5:
        luma = noise(luma, rng.uniform(0.5, 4.0), rng)
    if rng.random() < 0.5:
        luma = jpeg(luma, int(rng.integers(50, 96)))
    return luma


def turn(image: Array, rng: np.random.Generator, strength: float = 1.0) -> Array:
    """The same face a moment later: turned within 10 degrees, scaled within 10 %, shifted within 4 %, and its parts
    moved against each other by a smooth random field. Edge pixels are replicated."""
    return turn_with(image, None, rng, strength)[0]


def turn_with(
    image: Array, landmarks: Array | None, rng: np.random.Generator, strength: float = 1.0
) -> tuple[Array, Array | None]:
    """`turn`, and where it takes landmarks (5, 2), given in shares of the width and height, but for the field."""
    height, width = image.shape[:2]
    angle = rng.uniform(-TURN, TURN) * strength
    scale = np.exp(rng.uniform(-GROWTH, GROWTH) * strength)
    shift = (rng.uniform(-SHIFT, SHIFT, 2) * strength * width).astype(np.float32)
    knots = rng.normal(0.0, FIELD * width * strength, (KNOTS, KNOTS, 2)).astype(np.float32)
    field = cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    xs, ys = xs - width / 2, ys - height / 2
    cos, sin = np.float32(np.cos(angle) * scale), np.float32(np.sin(angle) * scale)
    map_x = cos * xs - sin * ys + np.float32(width / 2 + shift[0]) + field[..., 0]
    map_y = sin * xs + cos * ys + np.float32(height / 2 + shift[1]) + field[..., 1]
    turned = cv2.remap(image, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if landmarks is None:
        return turned, None
    size = np.array([width, height], np.float32)
    # The map goes from the turned picture back to the image; points go the other way.
    turned_back = np.array([[cos, -sin], [sin, cos]], np.float32)
    back = (landmarks * size - size / 2 - shift) @ turned_back / scale**2
    return turned, ((back + size / 2) / size).astype(np.float32)
