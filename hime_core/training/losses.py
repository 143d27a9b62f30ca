"""Training losses: sections 3.4 and 4 of the paper, and its Eqs. 8-14. Images are RGB float (N, 3, H, W) in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LossWeights:
    """The lambdas of Eq. 10, two of our own (psnr, teacher; the latter counts where there is a teacher), and the
    correlation's window k (odd) and dilation d."""

    rec: float = 1.0
    psnr: float = 0.0
    per: float = 0.0
    adv: float = 0.0
    cor: float = 0.0
    teacher: float = 1.0
    window: int = 3
    dilation: int = 1

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(f"the correlation window is {self.window}; it must be odd")
        if self.dilation < 1:
            raise ValueError(f"the correlation dilation is {self.dilation}; it must be at least 1")
        lambdas = (self.rec, self.psnr, self.per, self.adv, self.cor)
        if min(*lambdas, self.teacher) < 0 or not max(lambdas):
            raise ValueError("loss weights must not be negative, nor all zero")


def charbonnier(sr: Tensor, hr: Tensor, epsilon: float = 1e-3) -> Tensor:
    """L_rec of section 3.4, per pixel and channel, averaged: sqrt((hr - sr)^2 + epsilon^2)."""
    return torch.sqrt((hr - sr) ** 2 + epsilon**2).mean()


def psnr_loss(sr: Tensor, hr: Tensor, epsilon: float = 1e-3) -> Tensor:
    """The figure itself: log10 of each picture's mean squared error (plus epsilon^2), averaged; -10 dB are 1."""
    return torch.log10(((hr - sr) ** 2).mean(dim=(1, 2, 3)) + epsilon**2).mean()


def correlation_map(image: Tensor, window: int = 3, dilation: int = 1) -> Tensor:
    """M_cor, Eq. 8: the inner product of every pixel with each of the k x k around it, dilated by d, over k^2.

    The mean of each channel is removed first; beyond the border there is zero. Returns (N, k*k, H, W), the shifts in
    rows from (x + r, y + r) to (x - r, y - r), r = d (k - 1) / 2.
    """
    height, width = image.shape[-2:]
    centred = image - image.mean(dim=(2, 3), keepdim=True)
    reach = dilation * (window - 1) // 2
    padded = F.pad(centred, (reach, reach, reach, reach))
    shifts = [(dy * dilation, dx * dilation) for dy in range(window) for dx in range(window)]
    # Eq. 8 pairs I(x, y) with I(x - i, y - j): the first shift, i = j = -r, looks down and to the right.
    products = [
        (centred * padded[..., 2 * reach - y : 2 * reach - y + height, 2 * reach - x : 2 * reach - x + width]).sum(1)
        for y, x in shifts
    ]
    return torch.stack(products, dim=1) / window**2


def correlation_loss(sr: Tensor, hr: Tensor, window: int = 3, dilation: int = 1) -> Tensor:
    """L_cor, Eq. 9, by the L1 distance."""
    return F.l1_loss(correlation_map(sr, window, dilation), correlation_map(hr, window, dilation))


def perceptual_loss(sr_features: list[Tensor], hr_features: list[Tensor]) -> Tensor:
    """L_per, Eq. 11: the L1 distance of features before the ReLU, averaged over the layers."""
    return torch.stack([F.l1_loss(a, b) for a, b in zip(sr_features, hr_features, strict=True)]).mean()


def relativistic_generator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """L_adv, Eqs. 12 and 13. real, fake: C(I^HR) and C(I^SR), before the sigmoid."""
    return _log_loss(real - fake.mean(), False) + _log_loss(fake - real.mean(), True)


def relativistic_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """L_D, Eqs. 13 and 14. real, fake: C(I^HR) and C(I^SR), before the sigmoid."""
    return _log_loss(real - fake.mean(), True) + _log_loss(fake - real.mean(), False)


def _log_loss(logits: Tensor, wanted: bool) -> Tensor:
    """-E[log sigma(x)] where wanted, -E[log(1 - sigma(x))] where not; stable for large x."""
    return F.softplus(-logits if wanted else logits).mean()
