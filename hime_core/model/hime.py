"""HIME: Headshot Image Super-Resolution with Multiple Exemplars (Xiang et al., 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hime_core.model.aggregation import build_aggregation
from hime_core.model.alignment import ReferenceFeatureAlignment
from hime_core.model.blocks import PixelShuffleUp, residual_blocks
from hime_core.model.checkpoint import DEFAULT_WEIGHTS, CheckpointError, find_weights, read_checkpoint
from hime_core.model.flow import MULTIPLE, FlowEstimator

LUMA = (0.299, 0.587, 0.114)

Alignment = Literal["deformable", "conv", "flow"]
Aggregation = Literal["cofa", "average", "max"]
Tail = Literal["staged", "direct"]


@dataclass(frozen=True)
class HimeConfig:
    """The hyper-parameters; a checkpoint carries them.

    scale: 4 or 8; width: channels; *_blocks: the paper's k_l, k_h, k_r; groups, steps: of the deformable alignment,
    one step being the literal Eq. 4; guide_convs: convolutions between [F_ref, F_L] and the offset heads;
    alignment, aggregation: the rows of the paper's Tables 2 and 3 ("flow" is deformable alignment with flow guidance);
    flow_upscale: SpyNet's input over the LR size; tail: upsampling in stages of two, or by one PixelShuffle;
    mirrored: the answer is the mean of those to the face and to its mirror image (self-ensemble, Lim et al., 2017), at
    twice the cost: what the network makes of one side of a face it then makes of the other too.
    """

    scale: int = 4
    width: int = 32
    lr_blocks: int = 5
    hr_blocks: int = 3
    reconstruction_blocks: int = 20
    groups: int = 8
    steps: int = 1
    guide_convs: int = 3
    alignment: Alignment = "deformable"
    aggregation: Aggregation = "cofa"
    flow_upscale: int = 2
    tail: Tail = "staged"
    mirrored: bool = False

    def __post_init__(self) -> None:
        if self.scale not in (4, 8):
            raise ValueError(f"scale is {self.scale}; it must be 4 or 8")
        if min(self.width, self.groups, self.steps) < 1:
            raise ValueError("width, groups and steps must be at least 1")
        if self.width % self.groups:
            raise ValueError(f"width {self.width} must be a multiple of groups {self.groups}")
        if self.flow_upscale < 1 or MULTIPLE % self.flow_upscale:
            raise ValueError(f"flow_upscale is {self.flow_upscale}; it must divide {MULTIPLE}")
        for name, value, choices in (
            ("alignment", self.alignment, get_args(Alignment)),
            ("aggregation", self.aggregation, get_args(Aggregation)),
            ("tail", self.tail, get_args(Tail)),
        ):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")


class HrFeatureExtractor(nn.Module):
    """Luma, space-to-depth, convolution, residual blocks: an HR reference to features at LR size (section 3.1)."""

    def __init__(self, scale: int, width: int, blocks: int) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(scale)
        self.conv = nn.Conv2d(scale**2, width, 3, padding=1)
        self.blocks = residual_blocks(blocks, width)

    def forward(self, luma: Tensor) -> Tensor:
        features: Tensor = self.blocks(self.conv(self.unshuffle(luma)))
        return features


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
        residual: Tensor = self.out(F.leaky_relu(self.conv(x), 0.1))
        return residual


class DirectReconstructor(nn.Module):
    """The same with one convolution and one PixelShuffle for the whole scale: nothing is computed at HR size."""

    def __init__(self, scale: int, width: int, blocks: int) -> None:
        super().__init__()
        self.blocks = residual_blocks(blocks, width)
        self.out = PixelShuffleUp(width, 3, scale, kernel=3)
        self.out.conv.weight.data.mul_(0.1)  # near the bicubic picture at the start

    def forward(self, fused: Tensor) -> Tensor:
        residual: Tensor = self.out(self.blocks(fused) + fused)
        return residual


class Hime(nn.Module):
    """The whole network. Images are RGB float in [0, 1]."""

    def __init__(self, config: HimeConfig = HimeConfig()) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.lr_conv = nn.Conv2d(3, width, 3, padding=1)
        self.lr_blocks = residual_blocks(config.lr_blocks, width)
        self.hr_extractor = HrFeatureExtractor(config.scale, width, config.hr_blocks)
        self.flow = FlowEstimator(config.flow_upscale) if config.alignment == "flow" else None
        self.alignment = ReferenceFeatureAlignment(
            width, config.groups, config.steps, config.guide_convs, deformable=config.alignment != "conv"
        )
        self.aggregation = build_aggregation(config.aggregation, width)
        reconstructor = Reconstructor if config.tail == "staged" else DirectReconstructor
        self.reconstructor = reconstructor(config.scale, width, config.reconstruction_blocks)

    @classmethod
    def from_pretrained(cls, name: str | Path = DEFAULT_WEIGHTS) -> Hime:
        """A bundled checkpoint by its name ({variant}-x{scale}-{recipe}), or a .safetensors file: the network that it
        describes, in float32 and evaluation mode.

        Raises CheckpointError that lists the names there are, or says what is wrong with the file.
        """
        path = find_weights(name)
        config, tensors = read_checkpoint(path)
        try:
            model = cls(HimeConfig(**config))
            model.load_state_dict(tensors)
        except (TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not fit this version of the network: {error}") from error
        return model.eval()

    def forward(self, lr: Tensor, references: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Super-resolves a batch of headshots.

        lr: (N, 3, h, w); references: (N, R, 3 or 1, s*h, s*w), luma where there is one channel, R from 0, or None for
        none (F_a = 0); features: what `encode_references` gave of them, if it is at hand; flow guidance needs the
        references beside it. Returns I^SR, (N, 3, s*h, s*w), not clamped. Raises ValueError for other shapes.
        """
        self._check(lr, references)
        if not self.config.mirrored:
            return self._answer(lr, references, features)
        if features is not None:
            raise ValueError("the features of mirrored references are others; give the references themselves")
        both = None if references is None else torch.cat((references, references.flip(-1)))
        answer, mirrored = self._answer(torch.cat((lr, lr.flip(-1))), both).chunk(2)
        return (answer + mirrored.flip(-1)) / 2

    def _answer(self, lr: Tensor, references: Tensor | None, features: Tensor | None = None) -> Tensor:
        fused = f_lr = self.lr_blocks(self.lr_conv(lr))
        if features is None and references is not None and references.shape[1]:
            features = self.encode_references(references)
        if features is not None and features.shape[1]:
            fused = f_lr + self.aggregate(features, f_lr, self.reference_flow(lr, references))
        skip = F.interpolate(lr, scale_factor=self.config.scale, mode="bicubic", align_corners=False)
        residual: Tensor = self.reconstructor(fused)
        return skip + residual

    def encode_references(self, references: Tensor) -> Tensor:
        """References to features: (N, R, 3 or 1, s*h, s*w) to F^ref, (N, R, C, h, w)."""
        features: Tensor = self.hr_extractor(to_luma(references.flatten(0, 1)))
        by_face: Tensor = features.unflatten(0, references.shape[:2])
        return by_face

    def reference_flow(self, lr: Tensor, references: Tensor | None) -> Tensor | None:
        """o of Eq. 2 for every reference, (N*R, 2, h, w); None in a network without flow guidance."""
        if self.flow is None:
            return None
        if references is None:
            raise ValueError("flow-guided alignment needs the references beside their features")
        small = F.avg_pool2d(to_luma(references.flatten(0, 1)), self.config.scale)  # I^refL
        flow: Tensor = self.flow(to_luma(lr).repeat_interleave(references.shape[1], dim=0), small)
        return flow

    def aggregate(self, features: Tensor, f_lr: Tensor, flow: Tensor | None = None) -> Tensor:
        """Alignment of every reference, then aggregation: (N, R, C, h, w), (N, C, h, w), (N*R, 2, h, w) or None to
        F_a, (N, C, h, w)."""
        beside = f_lr.repeat_interleave(features.shape[1], dim=0)
        aligned = self.alignment(features.flatten(0, 1), beside, flow)
        aggregated: Tensor = self.aggregation(aligned.unflatten(0, features.shape[:2]), f_lr)
        return aggregated

    def _check(self, lr: Tensor, references: Tensor | None) -> None:
        if lr.ndim != 4 or lr.shape[1] != 3 or 0 in lr.shape:
            raise ValueError(f"lr has shape {tuple(lr.shape)}; it must be (N, 3, h, w) of at least one pixel")
        if references is None:
            return
        n, _, height, width = lr.shape
        height, width = self.config.scale * height, self.config.scale * width
        if (
            references.ndim != 5
            or references.shape[0] != n
            or references.shape[2] not in (1, 3)
            or references.shape[3:] != (height, width)
        ):
            raise ValueError(
                f"references have shape {tuple(references.shape)}; for this lr it must be "
                f"({n}, R, 3 or 1, {height}, {width})"
            )


def to_luma(images: Tensor) -> Tensor:
    """(N, 3, H, W) RGB, or (N, 1, H, W) as it is, to (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.chunk(3, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
