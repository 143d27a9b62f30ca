"""What a network costs: parameters and multiply-accumulates, counted by torch."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hime_core.model.hime import Hime


def parameter_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def multiply_accumulates(model: Hime, lr_side: int, references: int) -> float:
    """Multiply-accumulates of one face, in thousand millions (half of torch's FLOPs).

    Convolutions and matrix products count, the deformable kernels' among them: off CUDA they are a matrix product over
    sampled taps. Biases, activations and bilinear samples do not, as is usual. Nothing is computed.
    """
    ghost = copy.deepcopy(model).to("meta")
    side = lr_side * model.config.scale
    lr, refs = (
        torch.empty(shape, device="meta") for shape in ((1, 3, lr_side, lr_side), (1, references, 1, side, side))
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ghost(lr, refs)
    return float(counter.get_total_flops() / 2e9)
