"""How much a codec has taken from a face, seen from its pixels alone: for streams whose bitstream does not tell.

What was coded coarsely keeps the marks of it when it is coded again finely, or sent on by somebody else. A small
network that was trained on such faces (`python -m benchmarks.faces.damage_estimator train`) reads them.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from hime_core.arrays import Array
from hime_core.threads import one_thread

WEIGHTS = Path(__file__).parent.parent / "weights" / "faces" / "damage.safetensors"
LARGEST, SMALLEST = 128, 32  # pixels across what is looked at; smaller faces are continued by their mirror image
STEPS = (4.0, 142.0)  # finest that is told from an undamaged picture, and VP8's coarsest
NEIGHBOURS = 9  # pixels across the surroundings whose mean is taken off


class DamageNetwork(nn.Module):
    """(N, 3, H, W), `prepared` luma, to (N,): log2 of the quantizer step. 48 thousand weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2), nn.ReLU(),
            nn.Conv2d(24, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(32, 48, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(48, 32, 3, 1, 1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.layers(x)
        spread = (features.var((2, 3), unbiased=False) + 1e-4).sqrt()
        log_step: torch.Tensor = self.head(torch.cat([features.mean((2, 3)), spread], 1))[:, 0] + 4.0
        return log_step


def prepared(luma: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) that the network takes of luma (N, H, W), 0..255: the detail without the light that it lies in, and
    how even it is across and down, as what is coded coarsely is flat but for the borders of blocks."""
    x = luma.float()[:, None]
    detail = x - nn.functional.avg_pool2d(x, NEIGHBOURS, 1, NEIGHBOURS // 2, count_include_pad=False)
    padded = nn.functional.pad(x, (0, 1, 0, 1), mode="replicate")
    across, down = padded[..., :-1, 1:] - x, padded[..., 1:, :-1] - x
    # A codec's marks are of a few grey levels, and lie beside edges of a hundred.
    even = [((slope.abs() + 0.5).log() - 1) / 2 for slope in (across, down)]
    return torch.cat([detail / (detail.abs() + 8), *even], 1)


class DamageEstimator:
    """Keeps no state between calls, so one instance serves all threads."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        """Raises OSError, safetensors.SafetensorError or RuntimeError where `weights` are not the network's."""
        self._network = DamageNetwork()
        self._network.load_state_dict(load_file(weights))
        self._network.eval().to(memory_format=torch.channels_last)

    def step(self, luma: Array) -> float:
        """The quantizer step that the face seems to have been coded with, in grey levels as coding.Coding.step, 4..142.

        luma: of the face's square at the frame's own scale, uint8 (n, n); its middle 128 pixels are looked at. Single
        estimates scatter; take the mean over some frames. Blur and noise alone are no damage. H264's steps count
        1.5 times, as they take more than VP8's; what rate control mostly skips reads as worse than its own step.
        """
        with torch.inference_mode(), one_thread():
            x = prepared(torch.from_numpy(middle(luma))[None])
            log_step = float(self._network(x.contiguous(memory_format=torch.channels_last))[0])
        return float(np.clip(2.0**log_step, *STEPS))


def middle(luma: Array) -> Array:
    """The middle LARGEST pixels of (h, w), continued to SMALLEST where there are fewer."""
    height, width = (min(side, LARGEST) for side in luma.shape)
    top, left = (luma.shape[0] - height) // 2, (luma.shape[1] - width) // 2
    part = luma[top : top + height, left : left + width]
    below, right = max(0, SMALLEST - height), max(0, SMALLEST - width)
    if below or right:
        return cv2.copyMakeBorder(
            part, below // 2, below - below // 2, right // 2, right - right // 2, cv2.BORDER_REFLECT
        )
    return np.ascontiguousarray(part)
