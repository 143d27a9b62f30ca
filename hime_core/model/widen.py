"""A wider network that computes what a trained one does: the start of training it on (Net2Net, Chen et al., 2016)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from hime_core.model.alignment import TAPS
from hime_core.model.hime import Hime


@torch.no_grad()
def widen(model: Hime, wide: Hime) -> Hime:
    """`wide`, freshly built with more channels and groups than `model` and alike otherwise, made to compute the same.

    Its new channels keep their random weights, so that they can be learned from; what comes after them begins by
    paying no heed to them. Raises ValueError for networks that differ in more than width and groups.
    """
    same = replace(model.config, width=wide.config.width, groups=wide.config.groups, mirrored=wide.config.mirrored)
    if same != wide.config or wide.config.width < model.config.width:
        raise ValueError("only a network that is narrower and otherwise the same can be widened")
    wide = deepcopy(wide)
    theirs = wide.state_dict()
    for name, value in model.state_dict().items():
        target = theirs[name]
        rows = _rows(name, value, model, wide)
        if value.ndim == 1:
            target[rows] = value
        else:
            columns = _columns(name, value, target)
            target[rows] = 0
            target[rows[:, None], columns] = value
        if name.startswith("aggregation.g1"):  # new keys would count in every similarity
            new = torch.ones(len(target), dtype=torch.bool)
            new[rows] = False
            target[new] = 0
    return wide


def _rows(name: str, value: Tensor, model: Hime, wide: Hime) -> Tensor:
    """Where the output channels go: to the front, but for the masks, which come after all offsets."""
    rows = torch.arange(len(value))
    if "offset_head" in name:
        offsets = 2 * model.config.groups * TAPS
        rows[offsets:] += 2 * (wide.config.groups - model.config.groups) * TAPS
    return rows


def _columns(name: str, value: Tensor, target: Tensor) -> Tensor:
    """Where the input channels go; [F_ref, F_L] are widened each."""
    columns = torch.arange(value.shape[1])
    if name == "alignment.fuse.weight":
        half = value.shape[1] // 2
        columns[half:] += (target.shape[1] - value.shape[1]) // 2
    return columns
