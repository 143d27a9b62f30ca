"""Residual blocks and ICNR sub-pixel upsampling."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """conv-ReLU-conv with a skip, no normalisation: (N, C, H, W) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        # Small residuals at the start: a stack of 20 blocks begins near the identity.
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(0.1)
            nn.init.zeros_(bias_of(conv))

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv2(torch.relu(self.conv1(x)))
        return x + residual


def residual_blocks(count: int, width: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


class PixelShuffleUp(nn.Sequential):
    """1x1 convolution and PixelShuffle, ICNR-initialised: (N, C, H, W) to (N, out, factor*H, factor*W)."""

    def __init__(self, width: int, out: int, factor: int, kernel: int = 1) -> None:
        conv = nn.Conv2d(width, out * factor**2, kernel, padding=kernel // 2)
        icnr_(conv.weight, factor)
        nn.init.zeros_(bias_of(conv))
        super().__init__(conv, nn.PixelShuffle(factor))
        self.factor = factor

    @property
    def conv(self) -> nn.Conv2d:
        conv = self[0]
        assert isinstance(conv, nn.Conv2d)
        return conv


def bias_of(conv: nn.Conv2d) -> Tensor:
    """The bias of a convolution that has one."""
    assert conv.bias is not None
    return conv.bias


def icnr_(weight: Tensor, factor: int) -> None:
    """Fills a convolution weight so that PixelShuffle(factor) of its output starts as nearest-neighbour
    upscaling, free of checkerboards (Aitken et al., 2017)."""
    out, rest = weight.shape[0] // factor**2, weight.shape[1:]
    sub = nn.init.kaiming_normal_(weight.new_empty(out, *rest))
    with torch.no_grad():
        weight.copy_(sub.repeat_interleave(factor**2, dim=0))
