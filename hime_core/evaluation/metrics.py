"""Picture quality: PSNR and SSIM on RGB in [0, 1], whole image, output rounded to 8 bits."""

from __future__ import annotations

import numpy as np
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """dB of uint8 (H, W, 3) pictures."""
    return float(peak_signal_noise_ratio(_unit(image), _unit(truth), data_range=1.0))


def ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """SSIM of uint8 (H, W, 3) pictures with torchmetrics' defaults."""
    return float(structural_similarity_index_measure(_unit(image), _unit(truth), data_range=1.0))


def _unit(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255.0
