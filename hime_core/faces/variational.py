"""Refines flow between patches: few iterations on an energy of light, gradients and smoothness, in PyTorch.

The energy is that of Brox et al. (2004), with the constraints normalised as in Zimmer et al. (2011); its linear
systems are relaxed by Jacobi steps, sped up by Chebyshev's recurrence. Counts are fixed and nothing is read back.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hime_core.faces.warping import gradients, warp

WARPS = 2  # times that the source is seen from where the flow leads by then
REWEIGHTINGS, RELAXATIONS = 3, 8  # of each: the robust weights, and the steps between two of them
SPECTRAL_RADIUS = 0.97  # of a Jacobi step, as the recurrence assumes it
LIGHT, GRADIENTS, SMOOTHNESS = 5.0, 10.0, 20.0  # what deviations from each count
NOISE = 0.1  # grey levels a pixel: gradients under it tell little
EPSILON = 1e-6


def refine(target: Tensor, source: Tensor, flow: Tensor) -> Tensor:
    """Better flow. target, source: float32 (B, 1, S, S), grey levels; flow and result: (B, 2, S, S), pixels."""
    for _ in range(WARPS):
        flow = flow + _increment(target, warp(source, flow), flow)
    return flow


def _increment(target: Tensor, seen: Tensor, flow: Tensor) -> Tensor:
    """What to add to the flow by which `seen` was taken from the source."""
    x, y, change = _constraints(target, seen)
    products = torch.stack((x * x, x * y, y * y, -x * change, -y * change), 1)  # (B, 5, 3, S, S)
    added = torch.zeros_like(flow)
    for _ in range(REWEIGHTINGS):
        # sqrt(s² + e²) instead of s²: what cannot be met is not met at any price.
        misfit = torch.addcmul(torch.addcmul(change, x, added[:, :1]), y, added[:, 1:]).square()
        light, steep = misfit[:, :1], misfit[:, 1:2] + misfit[:, 2:]
        weights = (LIGHT * torch.rsqrt(light + EPSILON), GRADIENTS * torch.rsqrt(steep + EPSILON))
        data = (products * torch.cat((*weights, weights[1]), 1)[:, None]).sum(2)  # (B, 5, S, S)
        added = _relaxed(data, _Neighbours(flow + added), flow, added)
    return added


def _constraints(target: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of light, and of its gradients in x and y: derivatives in x, in y and in time, (B, 3, S, S) each."""
    change = seen - target
    x, y = gradients((seen + target) / 2)
    (xx, xy), (_, yy) = gradients(x), gradients(y)
    steep = torch.cat((x, xx, xy), 1), torch.cat((y, xy, yy), 1), torch.cat((change, *gradients(change)), 1)
    scale = torch.rsqrt(steep[0].square() + steep[1].square() + NOISE**2)
    return steep[0] * scale, steep[1] * scale, steep[2] * scale


class _Neighbours:
    """How much each pixel's flow is to be like that of the four beside it: less where it changes anyway.

    Past the border, a pixel's neighbour is itself or counts nothing, which is the same.
    """

    def __init__(self, flow: Tensor) -> None:
        padded = F.pad(flow, (0, 1, 0, 1), mode="replicate")
        across, along = padded[..., :-1, 1:] - flow, padded[..., 1:, :-1] - flow
        steep = torch.addcmul(across.square(), along, along).sum(1, keepdim=True)
        self._after = SMOOTHNESS * torch.rsqrt(steep + EPSILON)  # of the pixel and those to the right and below
        before = F.pad(self._after, (1, 0, 1, 0))
        self._left, self._above = before[..., 1:, :-1], before[..., :-1, 1:]
        self.total = torch.add(self._left + self._above, self._after, alpha=2)  # (B, 1, S, S)

    def added_to(self, base: Tensor, flow: Tensor) -> Tensor:
        """The base and the neighbours' flow by their weights, (B, 2, S, S)."""
        padded = F.pad(flow, (1, 1, 1, 1), mode="replicate")
        sums = torch.addcmul(base, self._after, padded[..., 1:-1, 2:])
        sums = torch.addcmul(sums, self._left, padded[..., 1:-1, :-2])
        sums = torch.addcmul(sums, self._after, padded[..., 2:, 1:-1])
        return torch.addcmul(sums, self._above, padded[..., :-2, 1:-1])


def _relaxed(data: Tensor, neighbours: _Neighbours, flow: Tensor, added: Tensor) -> Tensor:
    """Some way from `added` to the increment that solves the linear system."""
    xx, xy, yy = (data[:, n] for n in range(3))
    own_x, own_y = xx + neighbours.total[:, 0], yy + neighbours.total[:, 0]
    scale = 1 / (own_x * own_y - xy * xy)
    mixed = -xy * scale
    inverse = torch.stack((own_y * scale, mixed, mixed, own_x * scale), 1).unflatten(1, (2, 2))
    base = torch.addcmul(neighbours.added_to(data[:, 3:], flow), neighbours.total, flow, value=-1)
    before, factor = added, 1.0
    for step in range(RELAXATIONS):
        jacobi = (inverse * neighbours.added_to(base, added)[:, None]).sum(2)
        if step == 0:
            before, added = added, jacobi
        else:
            factor = 1 / (1 - SPECTRAL_RADIUS**2 * (0.5 if step == 1 else factor / 4))
            before, added = added, torch.lerp(before, jacobi, factor)
    return added
