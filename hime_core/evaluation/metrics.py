"""Picture quality on RGB in [0, 1], output rounded to 8 bits. Pictures are uint8 (H, W, 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from hime_core.arrays import Array
from hime_core.evaluation.headshot import inner_face, unit

if TYPE_CHECKING:
    from hime_core.evaluation.perceptual import Identity, Lpips

Figures = dict[str, float | None]
FIGURES = ("psnr", "psnr_inner", "ssim", "lpips", "identity")


def psnr(image: Array, truth: Array) -> float:
    """dB over the whole picture."""
    return float(peak_signal_noise_ratio(unit(image), unit(truth), data_range=1.0))


def ssim(image: Array, truth: Array) -> float:
    """SSIM with torchmetrics' defaults."""
    found = structural_similarity_index_measure(unit(image), unit(truth), data_range=1.0)
    assert isinstance(found, Tensor)
    return float(found)


class Meter:
    """Measures pictures of one headshot against the truth: "psnr", "psnr_inner" (the inner face), "ssim", "lpips" and
    "identity" (cosine of the embeddings), the last two None without their networks."""

    def __init__(self, lpips: Lpips | None = None, identity: Identity | None = None) -> None:
        self.lpips, self.identity = lpips, identity

    def measure(self, images: Mapping[str, Array], truth: Array) -> dict[str, Figures]:
        names, stack = list(images), list(images.values())
        lpips = self.lpips.distances(stack, truth) if self.lpips else [None] * len(stack)
        identity = self.identity.similarities(stack, truth) if self.identity else [None] * len(stack)
        return {
            name: {
                "psnr": psnr(image, truth),
                "psnr_inner": psnr(inner_face(image), inner_face(truth)),
                "ssim": ssim(image, truth),
                "lpips": lpips[i],
                "identity": identity[i],
            }
            for i, (name, image) in enumerate(zip(names, stack, strict=True))
        }


def mean_figures(rows: list[Figures]) -> Figures:
    """Means of each figure; None where it was not measured."""
    return {
        name: None if any(row[name] is None for row in rows) else float(np.mean([row[name] for row in rows]))
        for name in FIGURES
    }
