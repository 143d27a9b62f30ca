"""Content-conditioned feature aggregation (CoFA), the paper's section 3.3."""

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
