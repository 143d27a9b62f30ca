"""Square pictures moved by flow, in PyTorch: many at once, without a loop over them and without waiting for the device.

Pictures are float32 (B, C, S, S); flow is (B, 2, S, S), displacements (x, y) in their pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def places(side: int, device: torch.device) -> Tensor:
    """Every pixel's own place as `grid_sample` wants it: (1, S, S, 2), (x, y) from -1 to 1 between the outer edges."""
    line = (2 * torch.arange(side, device=device, dtype=torch.float32) + 1) / side - 1
    ys, xs = torch.meshgrid(line, line, indexing="ij")
    return torch.stack((xs, ys), dim=-1)[None]


def warp(picture: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """The picture as seen from where the flow leads; edge pixels go on past the border."""
    side = picture.shape[-1]
    grid = torch.add(places(side, picture.device), flow.permute(0, 2, 3, 1), alpha=2 / side)
    return F.grid_sample(picture, grid, mode=mode, padding_mode="border", align_corners=False)


def gradients(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences in x and in y."""
    padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return across / 2, down / 2
