"""The networks that judge pictures in training: VGG features and the discriminator."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import VGG19_Weights, vgg16, vgg19

from hime_core.errors import InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The last convolution of each block, by depth of the network; the paper names neither layer nor layers.
BLOCK_ENDS = {16: (2, 7, 14, 21, 28), 19: (2, 7, 16, 25, 34)}


class VggFeatures(nn.Module):
    """RGB (N, 3, H, W) in [0, 1] to features before the ReLU, at the last convolutions of the first `blocks` blocks."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: nn.Sequential, depth: int, blocks: int = 4) -> None:
        super().__init__()
        self.taps = BLOCK_ENDS[depth][:blocks]
        self.layers = nn.ModuleList(features[: self.taps[-1] + 1])
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # the taps are read before it
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        x = (image - self.mean) / self.std
        found = []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in self.taps:
                found.append(x)
        return found


def load_vgg(path: Path | None, blocks: int = 4) -> VggFeatures:
    """VGG-16 or VGG-19 from a file of torchvision's weights (keys features.N.*; those of the first `blocks` blocks will
    do), or VGG-19 by torchvision's download.

    Raises InputError.
    """
    if path is None:
        try:
            return VggFeatures(vgg19(weights=VGG19_Weights.IMAGENET1K_V1).features, 19, blocks)
        except OSError as error:
            raise InputError(f"VGG-19 could not be downloaded ({error}); give --vgg FILE") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {k.removeprefix("features."): v.float() for k, v in state.items() if k.startswith("features.")}
        depth = 19 if "16.weight" in state else 16  # where VGG-16 has a pooling
        features = (vgg19 if depth == 19 else vgg16)(weights=None).features[: BLOCK_ENDS[depth][blocks - 1] + 1]
        features.load_state_dict({k: v for k, v in state.items() if int(k.split(".")[0]) < len(features)})
    except (OSError, AttributeError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path} holds no VGG weights ({error}); give torchvision's VGG-16 or VGG-19, keys features.N.*"
        ) from error
    return VggFeatures(features, depth, blocks)


class Discriminator(nn.Module):
    """C of Eq. 13: RGB (N, 3, H, W) in [0, 1] to one logit per 8 x 8 patch, (N, 1, H/8, W/8)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, stride: int) -> nn.Module:
            return nn.utils.parametrizations.spectral_norm(nn.Conv2d(inputs, outputs, 3, stride, 1))

        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.LeakyReLU(0.2)]
        for inputs, outputs in ((width, 2 * width), (2 * width, 4 * width), (4 * width, 4 * width)):
            layers += [conv(inputs, outputs, 2), nn.LeakyReLU(0.2), conv(outputs, outputs, 1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(4 * width, 1, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.layers(image)
        return logits
