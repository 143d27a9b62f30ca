"""HIME: Headshot Image Super-Resolution with Multiple Exemplars (Xiang et al., 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from hime_core.model.aggregation import ContentConditionedAggregation
from hime_core.model.alignment import ReferenceFeatureAlignment
from hime_core.model.blocks import PixelShuffleUp, residual_blocks

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class HimeConfig:
    """The hyper-parameters; a checkpoint carries them.

    scale: 4 or 8; width: channels; *_blocks: the paper's k_l, k_h, k_r; groups, steps: of the deformable
    alignment, one step being the literal Eq. 4.
    """

    scale: int = 4
    width: int = 32
    lr_blocks: int = 5
    hr_blocks: int = 3
    reconstruction_blocks: int = 20
    groups: int = 8
    steps: int = 1

    def __post_init__(self) -> None:
        if self.scale not in (4, 8):
            raise ValueError(f"scale is {self.scale}; it must be 4 or 8")
        if self.width % self.groups:
            raise ValueError(f"width {self.width} must be a multiple of groups {self.groups}")


class HrFeatureExtractor(nn.Module):
    """Luma, space-to-depth, convolution, residual blocks: an HR reference to features at LR size (section 3.1)."""

    def __init__(self, scale: int, width: int, blocks: int) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(scale)
        self.conv = nn.Conv2d(scale**2, width, 3, padding=1)
        self.blocks = residual_blocks(blocks, width)

    def forward(self, luma: Tensor) -> Tensor:
        return self.blocks(self.conv(self.unshuffle(luma)))


class Reconstructor(nn.Module):
    """k_r residual blocks and sub-pixel upsampling: the residual over the bicubic picture (section 3.4)."""

    def __init__(self, scale: int, width: int, blocks: int) -> None:
        super().__init__()
        self.blocks = residual_blocks(blocks, width)
        self.up1 = PixelShuffleUp(width, width, 2)
        self.up2 = PixelShuffleUp(width, width, 2)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        rest = scale // 4
        self.out: nn.Module = (
            PixelShuffleUp(width, 3, rest, kernel=3) if rest > 1 else nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, fused: Tensor) -> Tensor:
        x = self.blocks(fused) + fused
        x = F.leaky_relu(self.up1(x), 0.1)
        x = F.leaky_relu(self.up2(x), 0.1)
        return self.out(F.leaky_relu(self.conv(x), 0.1))


class Hime(nn.Module):
    """The whole network. Images are RGB float in [0, 1]."""

    def __init__(self, config: HimeConfig = HimeConfig()) -> None:
        super().__init__()
        self.config = config
        self.lr_conv = nn.Conv2d(3, config.width, 3, padding=1)
        self.lr_blocks = residual_blocks(config.lr_blocks, config.width)
        self.hr_extractor = HrFeatureExtractor(config.scale, config.width, config.hr_blocks)
        self.alignment = ReferenceFeatureAlignment(config.width, config.groups, config.steps)
        self.aggregation = ContentConditionedAggregation(config.width)
        self.reconstructor = Reconstructor(config.scale, config.width, config.reconstruction_blocks)

    def encode_references(self, references: Tensor) -> Tensor:
        """References to features.

        references: (N, R, 3, s*h, s*w) RGB, or (N, R, 1, s*h, s*w) when they are luma already.
        Returns F^ref, (N, R, C, h, w).
        """
        n, refs, channels, height, width = references.shape
        images = references.reshape(n * refs, channels, height, width)
        if channels == 3:
            weights = images.new_tensor(LUMA).view(1, 3, 1, 1)
            images = (images * weights).sum(dim=1, keepdim=True)
        features = self.hr_extractor(images)
        return features.view(n, refs, *features.shape[1:])

    def forward(self, lr: Tensor, references: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Super-resolves a batch of headshots.

        lr: (N, 3, h, w); references: (N, R, 3 or 1, s*h, s*w) or None for none (F_a = 0);
        features: what `encode_references` gave, in their place. Returns I^SR, (N, 3, s*h, s*w), not clamped.
        """
        f_lr = self.lr_blocks(self.lr_conv(lr))
        fused = f_lr
        if features is None and references is not None and references.shape[1]:
            features = self.encode_references(references)
        if features is not None:
            fused = f_lr + self.aggregate(features, f_lr)
        skip = F.interpolate(lr, scale_factor=self.config.scale, mode="bicubic", align_corners=False)
        return skip + self.reconstructor(fused)

    def aggregate(self, features: Tensor, f_lr: Tensor) -> Tensor:
        """Alignment of every reference, then CoFA: (N, R, C, h, w), (N, C, h, w) to F_a, (N, C, h, w)."""
        n, refs, channels, height, width = features.shape
        guide = f_lr.unsqueeze(1).expand_as(features).reshape(n * refs, channels, height, width)
        aligned = self.alignment(features.reshape(n * refs, channels, height, width), guide)
        return self.aggregation(aligned.view(n, refs, channels, height, width), f_lr)


def build_small(scale: int = 4, steps: int = 4) -> Hime:
    """HIME (small): four deformable steps are what matches the paper's Table 1; one is the literal Eq. 4."""
    return Hime(HimeConfig(scale=scale, steps=steps))


def parameter_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
