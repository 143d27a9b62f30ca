"""Warp error: how much a film flickers, by the motion of a sharp one of the same scene (Lai et al., 2018)."""

from __future__ import annotations

import cv2
import numpy as np

from hime_core.arrays import NOTHING, Array

INCONSISTENT = 0.5  # pixels between a point and its way there and back


class Flow:
    """Where each pixel of a frame was in the one before, and where that can be relied upon."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def between(self, before: Array, now: Array) -> tuple[Array, Array]:
        """before, now: uint8 (H, W), of the sharp film. Returns maps (H, W, 2), the place in `before` of each pixel of
        `now`, and mask (H, W), whether the flow there and the flow back agree."""
        back, forth = self._dis.calc(now, before, NOTHING), self._dis.calc(before, now, NOTHING)
        ys, xs = np.mgrid[0 : now.shape[0], 0 : now.shape[1]].astype(np.float32)
        maps = np.stack([xs + back[..., 0], ys + back[..., 1]], -1)
        returned = cv2.remap(forth, maps, NOTHING, cv2.INTER_LINEAR) + back
        return maps, np.hypot(returned[..., 0], returned[..., 1]) < INCONSISTENT


def warp_error(before: Array, now: Array, maps: Array, mask: Array) -> float:
    """Mean absolute luma difference, grey levels, between a frame and the one before it moved onto it.

    before, now: RGB uint8 (H, W, 3); maps, mask: as of `Flow.between`. NaN where the mask is empty.
    """
    if not mask.any():
        return float("nan")
    one, other = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) for rgb in (before, now))
    moved = cv2.remap(one, maps, NOTHING, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return float(np.abs(moved - other)[mask].mean())
