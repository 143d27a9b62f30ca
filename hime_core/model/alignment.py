"""Reference feature alignment (RFA), the paper's section 3.2, Figure 3 (a)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hime_core.model.deform import modulated_deform_conv

TAPS = 9


class DeformableStep(nn.Module):
    """One deformable sampling: offsets by Eq. 3, sampling by Eq. 4."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.offset_head = nn.Conv2d(width, groups * TAPS * 3, 3, padding=1)
        # Zero offsets, half-open masks: at the start this is an ordinary convolution.
        nn.init.zeros_(self.offset_head.weight)
        nn.init.zeros_(self.offset_head.bias)
        self.weight = nn.Parameter(torch.empty(width, width, 3, 3))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.kaiming_uniform_(self.weight, a=1.0)

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """features: (N, C, H, W) to sample from; guide: (N, C, H, W) that decides where."""
        parameters = self.offset_head(guide)
        offset = parameters[:, : 2 * self.groups * TAPS]
        mask = torch.sigmoid(parameters[:, 2 * self.groups * TAPS :])
        return modulated_deform_conv(features, offset, mask, self.weight, self.bias, self.groups)


class ReferenceFeatureAlignment(nn.Module):
    """Samples reference features to where the LR content wants them (Eqs. 1, 3, 4).

    The guide is computed from [F_ref, F_L]; with several steps, each samples the features of the one before.
    """

    def __init__(self, width: int, groups: int, steps: int) -> None:
        super().__init__()
        self.fuse = nn.Conv2d(2 * width, width, 3, padding=1)
        self.guide = nn.Sequential(
            nn.ReLU(), *(m for _ in range(3) for m in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU()))
        )
        self.steps = nn.ModuleList(DeformableStep(width, groups) for _ in range(steps))

    def forward(self, reference: Tensor, lr: Tensor) -> Tensor:
        """reference, lr: (N, C, H, W). Returns F^refA, (N, C, H, W)."""
        guide = self.guide(self.fuse(torch.cat((reference, lr), dim=1)))
        for step in self.steps:
            reference = step(reference, guide)
        return reference
