"""Registration as `registration.py` has it, in PyTorch: all references of a batch of faces at once, on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hime_core.faces.inverse_search import search
from hime_core.faces.registration import FLOW_SIDE, FLOW_UPSCALE, MAX_FLOW_LR
from hime_core.faces.variational import refine
from hime_core.faces.warping import warp

GRID = 8  # the side on which flow is sought is a multiple of it


def register(references: Tensor, lr: Tensor) -> Tensor:
    """References moved onto the LR pictures' content.

    references: luma, float32 (N, R, s*L, s*L), s a whole number; lr: luma, (N, L, L); both 0..255.
    Returns whole grey levels, float32 (N, R, s*L, s*L).
    """
    count, side = references.shape[1], references.shape[-1]
    pictures = references.flatten(0, 1)[:, None]
    moves = flow(pictures, lr.repeat_interleave(count, 0)[:, None])
    moves = F.interpolate(moves, size=(side, side), mode="bilinear", align_corners=False) * (side / moves.shape[-1])
    moved = warp(pictures, moves, mode="bicubic").round().clamp(0, 255)
    return moved.view(-1, count, side, side)


def flow(references: Tensor, lr: Tensor) -> Tensor:
    """Where each LR pixel's content lies in its reference.

    references: luma, (B, 1, s*L, s*L); lr: luma, (B, 1, L, L). Returns float32 (B, 2, S, S), displacements (x, y) in
    pixels of that size, which is near the LR picture's or larger.
    """
    side = lr.shape[-1]
    size = max(2 * GRID, GRID * round(max(side, min(FLOW_UPSCALE * side, FLOW_SIDE)) / GRID))
    coarse = F.avg_pool2d(references, references.shape[-1] // side)
    target, source = (
        F.interpolate(one, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 255)
        for one in (lr, _match(coarse, lr))
    )
    most = MAX_FLOW_LR * size / side
    return refine(target, source, search(target, source)).clamp(-most, most)


def _match(picture: Tensor, to: Tensor) -> Tensor:
    """The picture with the mean and contrast of `to`, so that flow sees shapes and not lighting."""
    (mean, deviation), (wanted, spread) = (_moments(one) for one in (picture, to))
    return ((picture - mean) * (spread / deviation.clamp_min(1.0)) + wanted).clamp(0, 255)


def _moments(picture: Tensor) -> tuple[Tensor, Tensor]:
    return picture.mean((-2, -1), keepdim=True), picture.std((-2, -1), correction=0, keepdim=True)


def luma(rgb: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to whole grey levels, float32 (N, H, W), BT.601 as in `registration.luma`."""
    red, green, blue = rgb.float().unbind(-1)
    return torch.round(0.299 * red + 0.587 * green + 0.114 * blue)
