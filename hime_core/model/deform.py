"""Modulated deformable convolution (Zhu et al., 2019) in two forms that compute the same.

torchvision's kernel is the one for CUDA and for export. On a CPU it is the slowest part of the network by far,
forward and backward, so there every tap is one bilinear `grid_sample` and the taps are summed by a matrix product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d


def modulated_deform_conv(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    """3x3, stride 1, padding 1, zero outside the map.

    x: (N, C, H, W); offset: (N, 2*groups*9, H, W), pairs (dy, dx) in pixels, group-major as torchvision has them;
    mask: (N, groups*9, H, W); weight: (out, C, 3, 3). Returns (N, out, H, W).
    """
    if x.is_cuda:
        return deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)
    return deform_conv_by_grid_sample(x, offset, mask, weight, bias, groups)


def deform_conv_by_grid_sample(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    """The same by one `grid_sample` over all taps."""
    n, channels, height, width = x.shape
    out = weight.shape[0]
    per_group = channels // groups
    offset = offset.view(n, groups, 9, 2, height, width)
    ys = torch.arange(height, dtype=x.dtype, device=x.device).view(1, 1, 1, height, 1)
    xs = torch.arange(width, dtype=x.dtype, device=x.device).view(1, 1, 1, 1, width)
    taps = torch.arange(3, dtype=x.dtype, device=x.device) - 1
    dy = taps.repeat_interleave(3).view(1, 1, 9, 1, 1)
    dx = taps.repeat(3).view(1, 1, 9, 1, 1)
    # Sample positions in [-1, 1] over pixel centres (align_corners=True).
    gy = (offset[:, :, :, 0] + ys + dy) * (2.0 / max(height - 1, 1)) - 1.0
    gx = (offset[:, :, :, 1] + xs + dx) * (2.0 / max(width - 1, 1)) - 1.0
    grid = torch.stack((gx, gy), dim=-1).view(n * groups, 9 * height, width, 2)
    sampled = F.grid_sample(x.reshape(n * groups, per_group, height, width), grid, align_corners=True)
    sampled = sampled.view(n, groups, per_group, 9, height, width) * mask.view(n, groups, 1, 9, height, width)
    columns = sampled.reshape(n, channels * 9, height * width)
    result = (weight.reshape(out, channels * 9) @ columns).reshape(n, out, height, width)
    return result if bias is None else result + bias.view(1, out, 1, 1)
