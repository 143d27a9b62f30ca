"""Reference feature alignment (RFA), the paper's section 3.2, Figure 3."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hime_core.model.blocks import bias_of
from hime_core.model.deform import modulated_deform_conv
from hime_core.model.flow import warp

TAPS = 9


class DeformableStep(nn.Module):
    """One deformable sampling: offsets by Eq. 3, sampling by Eq. 4."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.offset_head = nn.Conv2d(width, groups * TAPS * 3, 3, padding=1)
        # Zero offsets, half-open masks: at the start this is an ordinary convolution.
        nn.init.zeros_(self.offset_head.weight)
        nn.init.zeros_(bias_of(self.offset_head))
        self.weight = nn.Parameter(torch.empty(width, width, 3, 3))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.kaiming_uniform_(self.weight, a=1.0)

    def pass_through(self) -> None:
        """Lets features pass as they are until it has learned better."""
        nn.init.dirac_(self.weight)
        self.weight.data.mul_(2)  # against the half-open masks

    def forward(self, features: Tensor, guide: Tensor, flow: Tensor | None = None) -> Tensor:
        """features: (N, C, H, W) to sample from; guide: (N, C, H, W) that decides where;
        flow: o, (N, 2, H, W) as (x, y), so that Phi = o + dp at every tap."""
        parameters = self.offset_head(guide)
        offset = parameters[:, : 2 * self.groups * TAPS]
        if flow is not None:
            offset = offset + flow.flip(1).repeat(1, self.groups * TAPS, 1, 1)
        mask = torch.sigmoid(parameters[:, 2 * self.groups * TAPS :])
        return modulated_deform_conv(features, offset, mask, self.weight, self.bias, self.groups)


class ConvStep(nn.Module):
    """Table 2's "Conv": an ordinary convolution of features and guide in the place of the deformable one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, features: Tensor, guide: Tensor, flow: None = None) -> Tensor:
        mixed: Tensor = self.conv(torch.cat((features, guide), dim=1))
        return mixed


class ReferenceFeatureAlignment(nn.Module):
    """Samples reference features to where the LR content wants them (Eqs. 1 to 4).

    The guide is computed from [F_ref, F_L], or [F_refW, F_L] where there is flow. With several steps, each samples the
    features of the one before; the first follows the flow.
    """

    def __init__(self, width: int, groups: int, steps: int, guide_convs: int = 3, deformable: bool = True) -> None:
        super().__init__()
        self.fuse = nn.Conv2d(2 * width, width, 3, padding=1)
        self.guide = nn.Sequential(
            nn.ReLU(), *(m for _ in range(guide_convs) for m in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU()))
        )
        self.steps = nn.ModuleList(
            DeformableStep(width, groups) if deformable else ConvStep(width) for _ in range(steps)
        )
        for step in self.steps[1:]:  # so that a network can begin from one of fewer steps
            if isinstance(step, DeformableStep):
                step.pass_through()

    def forward(self, reference: Tensor, lr: Tensor, flow: Tensor | None = None) -> Tensor:
        """reference, lr: (N, C, H, W); flow: (N, 2, H, W) or None. Returns F^refA, (N, C, H, W)."""
        warped = reference if flow is None else warp(reference, flow)
        guide = self.guide(self.fuse(torch.cat((warped, lr), dim=1)))
        for step in self.steps:
            reference = step(reference, guide, flow)
            flow = None
        return reference
