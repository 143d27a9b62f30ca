"""Optical flow for the large network: SpyNet (Ranjan and Black, 2017) and warping, the paper's Eq. 2."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hime_core.model.blocks import bias_of

LEVELS = 6
MULTIPLE = 2 ** (LEVELS - 1)  # SpyNet's input sides are multiples of it
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the published weights want them


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Eq. 2: bilinear samples of x at p + flow(p); past the border the border's pixels go on.

    x: (N, C, H, W); flow: (N, 2, H, W), displacements (x, y) in pixels. Returns (N, C, H, W).
    """
    height, width = x.shape[-2:]
    flow = flow.float()  # positions need more than bfloat16's 8 bits
    ys = torch.arange(height, dtype=flow.dtype, device=flow.device).view(1, height, 1)
    xs = torch.arange(width, dtype=flow.dtype, device=flow.device).view(1, 1, width)
    gx = (xs + flow[:, 0]) * (2.0 / max(width - 1, 1)) - 1.0
    gy = (ys + flow[:, 1]) * (2.0 / max(height - 1, 1)) - 1.0
    grid = torch.stack((gx, gy), dim=-1)
    return F.grid_sample(x.float(), grid, padding_mode="border", align_corners=True).to(x.dtype)


class SpyNet(nn.Module):
    """A pyramid of small networks, each of which corrects the flow of the coarser one; 1.44 M parameters.

    Flow starts at zero: the last convolution of each level does.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_level() for _ in range(LEVELS))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """Where the target's content lies in the source: warp(source, flow) resembles target.

        target, source: (N, 3, H, W) RGB in [0, 1], H and W multiples of 32. Returns flow (N, 2, H, W), (x, y) pixels.
        """
        targets, sources = [(target - self.mean) / self.deviation], [(source - self.mean) / self.deviation]
        for _ in self.levels[1:]:
            targets.insert(0, F.avg_pool2d(targets[0], 2))
            sources.insert(0, F.avg_pool2d(sources[0], 2))
        flow = torch.zeros_like(targets[0][:, :2])
        for number, (level, goal, moved) in enumerate(zip(self.levels, targets, sources, strict=True)):
            if number:
                flow = 2.0 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
                moved = warp(moved, flow)
            flow = flow + level(torch.cat((goal, moved, flow), dim=1))
        return flow


def _level() -> nn.Sequential:
    widths = (8, 32, 64, 32, 16, 2)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 7, padding=3), nn.ReLU()]
    last = layers[-2]
    assert isinstance(last, nn.Conv2d)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(bias_of(last))
    return nn.Sequential(*layers[:-1])


class FlowEstimator(nn.Module):
    """The flow o between I^L and I^refL at LR size, by SpyNet on both pictures enlarged `upscale` times.

    Luma only: the references' colour is not used anywhere.
    """

    def __init__(self, upscale: int) -> None:
        super().__init__()
        self.upscale = upscale
        self.spynet = SpyNet()

    def forward(self, lr: Tensor, reference: Tensor) -> Tensor:
        """lr, reference: luma (N, 1, h, w) in [0, 1], any size. Returns (N, 2, h, w), (x, y) in LR pixels."""
        height, width = lr.shape[-2:]
        flow = self.spynet(self._enlarge(lr), self._enlarge(reference))
        flow = F.avg_pool2d(flow, self.upscale) / self.upscale
        return flow[..., :height, :width]

    def _enlarge(self, luma: Tensor) -> Tensor:
        multiple = MULTIPLE // self.upscale
        pad = (0, -luma.shape[-1] % multiple, 0, -luma.shape[-2] % multiple)
        luma = F.pad(luma, pad, mode="replicate")
        large = F.interpolate(luma, scale_factor=self.upscale, mode="bicubic", align_corners=False)
        return large.expand(-1, 3, -1, -1)
