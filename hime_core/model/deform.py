"""Modulated deformable convolution (Zhu et al., 2019): every tap is a bilinear sample, summed by a matrix product.

Not torchvision's `deform_conv2d`, which computes the same: on a CPU it is the slowest part of the network by far,
forward and backward, and on a GPU it launches on the default stream whatever the current one is, so that it is left
out of CUDA graphs and races with other streams.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def modulated_deform_conv(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    """3x3, stride 1, padding 1, zero outside the map.

    x: (N, C, H, W); offset: (N, 2*groups*9, H, W), pairs (dy, dx) in pixels, group-major as torchvision has them;
    mask: (N, groups*9, H, W); weight: (out, C, 3, 3). Returns (N, out, H, W).
    """
    n, channels, height, width = x.shape
    out, per_group = weight.shape[0], channels // groups
    dy, dx = offset.float().reshape(n, groups, 9, 2, height, width).unbind(3)  # positions need more than bfloat16
    ys, xs = (torch.arange(size, device=x.device) for size in (height, width))
    taps = torch.arange(3, device=x.device) - 1
    # Sample positions in [-1, 1] over pixel centres (align_corners=True).
    to_y, to_x = 2.0 / max(height - 1, 1), 2.0 / max(width - 1, 1)
    at_y = (taps.repeat_interleave(3).view(9, 1, 1) + ys.view(height, 1)) * to_y - 1.0
    at_x = (taps.repeat(3).view(9, 1, 1) + xs) * to_x - 1.0
    grid = torch.stack((torch.add(at_x, dx, alpha=to_x), torch.add(at_y, dy, alpha=to_y)), dim=-1)
    grid = grid.view(n * groups, 9 * height, width, 2)
    sampled = F.grid_sample(x.float().reshape(n * groups, per_group, height, width), grid, align_corners=True)
    sampled = sampled.view(n, groups, per_group, 9, height, width) * mask.view(n, groups, 1, 9, height, width)
    columns = sampled.reshape(n, channels * 9, height * width)
    result = (weight.reshape(out, channels * 9) @ columns).reshape(n, out, height, width)
    return result if bias is None else result + bias.view(1, out, 1, 1)
