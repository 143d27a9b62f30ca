"""Dense inverse search (Kroeger et al., 2016) of many pictures at once, in PyTorch.

Patches on a grid each look for their displacement by steps of Gauss and Newton, whose gradients and Hessians belong to
the target and so are found once; a pixel's flow is the mean of the patches over it, weighted by how well they fit.
All counts are fixed and nothing is read back, so that a CUDA graph can hold it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hime_core.faces.warping import gradients, places

PATCH, STRIDE = 8, 4
DESCENTS = 4  # steps of a patch's search; more gain nothing once the flow is refined
SCALES = 2  # the finest and its halves
FLAT = 1e-3  # determinant under which a patch has no shape to follow


def search(target: Tensor, source: Tensor) -> Tensor:
    """Where the target's content lies in the source.

    target, source: float32 (B, 1, S, S), grey levels, S a multiple of 8 and at least 16. Returns (B, 2, S, S),
    displacements (x, y) in pixels.
    """
    pyramid = [(target, source)]
    for _ in range(SCALES - 1):
        target, source = (F.avg_pool2d(one, 2) for one in pyramid[-1])
        pyramid.append((target, source))
    flow = target.new_zeros(len(target), 2, *target.shape[-2:])
    for target, source in reversed(pyramid):
        if flow.shape[-1] != target.shape[-1]:
            flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)
        flow = _Patches(target, source).search(flow)
    return flow


class _Patches:
    """The target's patches at one scale, L of them, and what never changes in their search."""

    def __init__(self, target: Tensor, source: Tensor) -> None:
        self._source, self._side = source, source.shape[-1]
        self._template = _cut(target)  # (B, L, PATCH²), as all that follows
        # A patch and its place may differ in brightness: means do not count.
        gx, gy = (cut - cut.mean(-1, keepdim=True) for cut in map(_cut, gradients(target)))
        xx, xy, yy = (gx * gx).sum(-1), (gx * gy).sum(-1), (gy * gy).sum(-1)
        determinant = xx * yy - xy * xy
        self._flat = (determinant < FLAT)[..., None]
        scale = 1 / determinant.clamp_min(FLAT)[..., None]
        # The inverse Hessian times the gradients: what a difference of a grey level moves a patch.
        self._steps = torch.stack(
            ((yy[..., None] * gx - xy[..., None] * gy) * scale, (xx[..., None] * gy - xy[..., None] * gx) * scale), -1
        )  # (B, L, PATCH², 2)
        own = places(self._side, target.device).permute(3, 0, 1, 2)
        self._places = _cut(own).permute(1, 2, 0)[None]  # (1, L, PATCH², 2)

    def search(self, flow: Tensor) -> Tensor:
        """From a first guess, (B, 2, S, S), to the flow at this scale."""
        start = moves = F.avg_pool2d(flow, PATCH, stride=STRIDE).flatten(2).transpose(1, 2)  # (B, L, 2)
        for _ in range(DESCENTS):
            moves = moves - (self._steps * self._differences(moves)[..., None]).sum(2)
        lost = (moves - start).square().sum(-1, keepdim=True) > PATCH**2
        moves = torch.where(lost | self._flat, start, moves)
        weights = 1 / self._differences(moves).abs().clamp_min(1.0)
        columns = torch.cat((weights * moves[..., :1], weights * moves[..., 1:], weights), -1).transpose(1, 2)
        sums = F.fold(columns, (self._side, self._side), PATCH, stride=STRIDE)
        return sums[:, :2] / sums[:, 2:]

    def _differences(self, moves: Tensor) -> Tensor:
        """Grey levels of the source where patches have moved, less their own."""
        grid = torch.add(self._places, moves[:, :, None], alpha=2 / self._side)
        seen = F.grid_sample(self._source, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return seen[:, 0] - self._template


def _cut(picture: Tensor) -> Tensor:
    """The patches of (B, 1, S, S), (B, L, PATCH²)."""
    return F.unfold(picture, PATCH, stride=STRIDE).transpose(1, 2)
