"""Aggregation of any number of aligned reference features: CoFA, the paper's section 3.3, and Table 3's others."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ContentConditionedAggregation(nn.Module):
    """Fuses any number of aligned reference features into one map (Eqs. 5-7)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.g1 = nn.Conv2d(width, width, 1)
        self.g2 = nn.Conv2d(width, width, 1)

    def similarity(self, aligned: Tensor, lr: Tensor) -> Tensor:
        """Eq. 7: sigmoid(g1(F^refA)^T g2(F^L)) at each pixel.

        aligned: (N, R, C, H, W); lr: (N, C, H, W). Returns mu, (N, R, 1, H, W) in (0, 1).
        """
        n, refs, channels, height, width = aligned.shape
        keys = self.g1(aligned.reshape(n * refs, channels, height, width)).view(aligned.shape)
        query = self.g2(lr).unsqueeze(1)
        return torch.sigmoid((keys * query).sum(dim=2, keepdim=True))

    def forward(self, aligned: Tensor, lr: Tensor) -> Tensor:
        """Eq. 5: the average of the references weighted by similarity. Returns F_a, (N, C, H, W)."""
        mu = self.similarity(aligned, lr)
        return (mu * aligned).sum(dim=1) / mu.sum(dim=1).clamp_min(1e-6)


class AverageAggregation(nn.Module):
    """The plain average of the references."""

    def forward(self, aligned: Tensor, lr: Tensor) -> Tensor:
        return aligned.mean(dim=1)


class MaxAggregation(nn.Module):
    """The largest value of any reference, channel by channel."""

    def forward(self, aligned: Tensor, lr: Tensor) -> Tensor:
        return aligned.amax(dim=1)


def build_aggregation(name: str, width: int) -> nn.Module:
    """name: "cofa", "average" or "max"."""
    match name:
        case "cofa":
            return ContentConditionedAggregation(width)
        case "average":
            return AverageAggregation()
        case "max":
            return MaxAggregation()
    raise ValueError(f"aggregation is {name!r}; it must be cofa, average or max")
