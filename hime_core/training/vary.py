"""What `degradations.turn`, `relight` and `tint` do to one picture, for a batch on the device.

Target and references are moved together, so that what was laid over the target stays there; only the target is relit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hime_core.arrays import Array
from hime_core.data.degradations import FIELD, GAIN, GAMMA, GROWTH, KNOTS, OFFSET, SHIFT, TINT, TURN


@dataclass(frozen=True)
class Variation:
    """Of a batch of n pictures. Shifts and fields in shares of the side. A mirrored picture stays what it is else.

    across, along: (n, 2) float32, the map from output to input, (x, y) per step right and down; shift: (n, 2); field:
    (n, 2, KNOTS, KNOTS); gamma, offset: (n, 1), of exposure, offset in shares of white; gain: (n, 3), by channel.
    """

    across: Tensor
    along: Tensor
    shift: Tensor
    field: Tensor
    gamma: Tensor
    offset: Tensor
    gain: Tensor


def draw_variation(rng: np.random.Generator, count: int, varied: float, mirrored: Array) -> Array:
    """Numbers of `count` variations, float32 (count, 8 + 2 + 2 KNOTS^2), for `as_variation`. varied: share of pictures
    that are changed; mirrored: bool (count,)."""
    changed = rng.random(count) < varied
    strength = rng.random(count) * changed
    angle = rng.uniform(-TURN, TURN, count) * strength
    scale = np.exp(rng.uniform(-GROWTH, GROWTH, count) * strength)
    shift = rng.uniform(-SHIFT, SHIFT, (count, 2)) * strength[:, None]
    field = rng.normal(0.0, FIELD, (count, 2 * KNOTS**2)) * strength[:, None]
    gamma = np.exp(rng.uniform(-GAMMA, GAMMA, count) * changed)
    offset = rng.uniform(-OFFSET, OFFSET, count) / 255 * changed
    gain = 1 + (rng.uniform(*GAIN, (count, 1)) * rng.uniform(*TINT, (count, 3)) - 1) * changed[:, None]
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    mirror = np.where(mirrored, -1.0, 1.0)
    numbers = (mirror * cos, mirror * sin, -sin, cos, gamma, offset)
    return np.concatenate([np.stack(numbers, axis=1), shift, gain, field], axis=1, dtype=np.float32)


def as_variation(numbers: Tensor) -> Variation:
    """What `draw_variation` gave, on the device."""
    across, along, gamma, offset, shift, gain, field = numbers.split((2, 2, 1, 1, 2, 3, 2 * KNOTS**2), dim=1)
    return Variation(across, along, shift, field.unflatten(1, (2, KNOTS, KNOTS)), gamma, offset, gain)


def warped(pictures: Tensor, variation: Variation) -> Tensor:
    """pictures: float (n, P, S, S). Sampled bicubically; edge pixels are replicated."""
    side = pictures.shape[-1]
    places = (torch.arange(side, device=pictures.device) + 0.5) / side - 0.5
    field = F.interpolate(variation.field, size=(side, side), mode="bicubic", align_corners=False)
    x, y = (
        variation.across[:, k, None, None] * places + variation.along[:, k, None, None] * places[:, None]
        + variation.shift[:, k, None, None] + field[:, k]
        for k in (0, 1)
    )  # fmt: skip
    grid = 2 * torch.stack([x, y], dim=-1)  # -1 and 1 are the outer edges
    return F.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)


def relit(pictures: Tensor, variation: Variation) -> Tensor:
    """pictures: float (n, 3, S, S) in [0, 1]; so is what comes back."""
    gamma, offset, gain = (v[..., None, None] for v in (variation.gamma, variation.offset, variation.gain))
    return ((pictures.clamp(0, 1) ** gamma) * gain + offset).clamp(0, 1)


def shrunk(pictures: Tensor, scale: int) -> Tensor:
    """By a whole number, as Pillow's BICUBIC does it: across, then down, each in whole grey levels. pictures: uint8
    (n, 3, S, S)."""
    height, width = (side // scale for side in pictures.shape[-2:])
    for size in ((height * scale, width), (height, width)):
        small = F.interpolate(pictures.float(), size=size, mode="bicubic", align_corners=False, antialias=True)
        pictures = levels(small / 255)
    return pictures


def levels(pictures: Tensor) -> Tensor:
    """float in [0, 1] to uint8."""
    return pictures.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
