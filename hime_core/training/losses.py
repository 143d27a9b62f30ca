"""Training losses."""

from __future__ import annotations

import torch
from torch import Tensor


def charbonnier(sr: Tensor, hr: Tensor, epsilon: float = 1e-3) -> Tensor:
    """L_rec of section 3.4, per pixel and channel, averaged: sqrt((hr - sr)^2 + epsilon^2)."""
    return torch.sqrt((hr - sr) ** 2 + epsilon**2).mean()
