"""Data echoing (Choi et al., 2019): a GPU learns from pairs faster than processors make them.

So every pair is made whole, kept on the device for a while, and used several times, each time through another window,
mirrored or not, with others of its references, and warped and relit where its LR picture is a plain reduction (`vary`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hime_core.arrays import Array
from hime_core.training.dataset import PairOptions
from hime_core.training.vary import Variation, as_variation, draw_variation, levels, relit, shrunk, warped

Sample = dict[str, Tensor]


class EchoPool:
    """The newest `size` pairs of each LR size, uint8, on the device. Draws repeat for a seed, step and contents."""

    def __init__(self, options: PairOptions, device: torch.device, seed: int, size: int = 4096) -> None:
        """options: of the batches to draw; what is put in comes from `options.whole()`."""
        self._options, self._device, self._seed, self._size = options, device, seed, size
        self._kept: dict[int, Sample] = {}
        self._taken: dict[int, int] = defaultdict(int)  # pairs put in so far

    def put(self, samples: dict[int, Sample]) -> None:
        """samples: pairs by LR size, as `by_side` collates them: lr (n, 3, s, s), hr and references."""
        for side, sample in samples.items():
            if side not in self._kept:
                shapes = {name: (self._size, *value.shape[1:]) for name, value in sample.items()}
                self._kept[side] = {
                    name: torch.empty(shape, dtype=torch.uint8, device=self._device) for name, shape in shapes.items()
                }
            count = len(sample["lr"])
            places = (self._taken[side] + torch.arange(count, device=self._device)) % self._size
            for name, value in sample.items():
                self._kept[side][name][places] = value.to(self._device, non_blocking=True)
            self._taken[side] += count

    def draw(self, step: int) -> Sample:
        """A batch as PairDataset's loader gives them: windows of one LR size with one number of references."""
        o = self._options
        assert o.window is not None  # what `put` gets is whole, what is drawn is not
        rng = np.random.default_rng((self._seed, step))
        sides = sorted(self._kept)
        fill = np.array([self._taken[side] for side in sides], float)
        side = int(rng.choice(sides, p=fill / fill.sum()))
        count = int(rng.choice(4, p=np.array(o.counts) / sum(o.counts)))
        chosen = rng.integers(min(self._taken[side], self._size), size=o.batch)
        windows = rng.integers(0, side - o.window + 1, (o.batch, 2))
        orders = rng.permuted(np.tile(np.arange(3), (o.batch, 1)), axis=1)[:, :count]
        mirrored = rng.random(o.batch) < (0.5 if o.flips != "none" else 0)
        numbers = self._sent(np.column_stack([chosen, mirrored, windows, orders]))
        which, mirror, corners, order = numbers[:, 0], numbers[:, 1] > 0, numbers[:, 2:4], numbers[:, 4:]

        kept = self._kept[side]
        hr, references = kept["hr"][which], kept["references"].squeeze(2)[which[:, None], order]
        if o.varies:
            variation = as_variation(self._sent(draw_variation(rng, o.batch, o.varied, mirrored)))
            lr, hr, references = _varied(hr, references, variation, side, o.scale)
        else:
            as_kept = kept["lr"][which], hr, references
            lr, hr, references = (torch.where(mirror[:, None, None, None], x.flip(-1), x) for x in as_kept)
        return {
            "lr": _windows(lr, corners, o.window),
            "hr": _windows(hr, corners * o.scale, o.window * o.scale),
            "references": _windows(references, corners * o.scale, o.window * o.scale).unsqueeze(2),
        }

    def _sent(self, numbers: Array) -> Tensor:
        """All in one copy that does not wait for the device."""
        tensor = torch.from_numpy(numbers)
        return (tensor.pin_memory() if self._device.type == "cuda" else tensor).to(self._device, non_blocking=True)


def _varied(
    hr: Tensor, references: Tensor, variation: Variation, side: int, scale: int
) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 (n, 3, S, S) and (n, R, S, S) to LR pictures of `side`, HR pictures and references, uint8."""
    moved = warped(torch.cat([hr, references], dim=1).float() / 255, variation)
    moved = F.avg_pool2d(moved, hr.shape[-1] // (side * scale))
    hr = levels(relit(moved[:, :3], variation))
    return shrunk(hr, scale), hr, levels(moved[:, 3:])


def _windows(pictures: Tensor, corners: Tensor, side: int) -> Tensor:
    """Squares of pictures (n, P, S, S), their top left corners given as (n, 2), (y, x)."""
    if pictures.shape[-1] == side:
        return pictures
    ramp = torch.arange(side, device=pictures.device)
    n, planes = (torch.arange(k, device=pictures.device) for k in pictures.shape[:2])
    ys, xs = corners[:, 0, None] + ramp, corners[:, 1, None] + ramp
    return pictures[n[:, None, None, None], planes[:, None, None], ys[:, None, :, None], xs[:, None, None, :]]


def by_side(samples: Sequence[Sample]) -> dict[int, Sample]:
    """Collates pairs of several LR sizes: a batch of each."""
    groups: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample["lr"].shape[-1]].append(sample)
    return {side: {k: torch.stack([s[k] for s in group]) for k in group[0]} for side, group in groups.items()}
