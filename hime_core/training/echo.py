"""Data echoing (Choi et al., 2019): a GPU learns from pairs faster than processors make them.

So every pair is made whole, kept on the device for a while, and used several times, each time through another window,
mirrored or not, with others of its references.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hime_core.training.dataset import PairOptions

Sample = dict[str, Tensor]


class EchoPool:
    """The newest `size` pairs of each LR size, uint8, on the device. Draws repeat for a seed, step and contents."""

    def __init__(self, options: PairOptions, device: torch.device, seed: int, size: int = 8192) -> None:
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
        rng = np.random.default_rng((self._seed, step))
        sides = sorted(self._kept)
        fill = np.array([self._taken[side] for side in sides], float)
        side = int(rng.choice(sides, p=fill / fill.sum()))
        count = int(rng.choice(4, p=np.array(o.counts) / sum(o.counts)))
        chosen = rng.integers(min(self._taken[side], self._size), size=(1, o.batch))
        corners = rng.integers(0, side - o.window + 1, (2, o.batch))
        mirrored = rng.random((1, o.batch)) < (0.5 if o.flips != "none" else 0)
        order = rng.permuted(np.tile(np.arange(3), (o.batch, 1)), axis=1)[:, :count]
        # All in one copy that does not wait for the device.
        numbers = torch.from_numpy(np.concatenate([chosen, corners, mirrored, order.T]).T)
        if self._device.type == "cuda":
            numbers = numbers.pin_memory()
        numbers = numbers.to(self._device, non_blocking=True)
        colours = torch.arange(3, device=self._device).expand(o.batch, 3)

        def cut(pictures: Tensor, planes: Tensor, scale: int) -> Tensor:
            """Windows of planes of pictures (n, P, S, S)."""
            ramp = torch.arange(o.window * scale, device=self._device)
            which, ys, xs, mirror = numbers[:, :4, None].unbind(1)
            ys, xs = ys * scale + ramp, xs * scale + torch.where(mirror > 0, ramp.flip(0), ramp)
            return pictures[which[..., None, None], planes[..., None, None], ys[:, None, :, None], xs[:, None, None, :]]

        kept = self._kept[side]
        return {
            "lr": cut(kept["lr"], colours, 1),
            "hr": cut(kept["hr"], colours, o.scale),
            "references": cut(kept["references"].squeeze(2), numbers[:, 4:], o.scale).unsqueeze(2),
        }


def by_side(samples: Sequence[Sample]) -> dict[int, Sample]:
    """Collates pairs of several LR sizes: a batch of each."""
    groups: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample["lr"].shape[-1]].append(sample)
    return {side: {k: torch.stack([s[k] for s in group]) for k in group[0]} for side, group in groups.items()}
