"""Brings an exemplar to where the face is now, before the network sees it.

HIME's deformable sampling works on LR features: it reaches a few LR pixels and cannot shift, by a fraction of one,
detail that space-to-depth has laid into channels. So each exemplar is first cut by the similarity of its five
landmarks to the frame's, then moved by dense inverse search flow (Kroeger et al., 2016) between the LR picture and the
exemplar made equally coarse. It plays the part of the paper's Eq. 2, in the HR picture and without a learned network.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from hime_core.arrays import NOTHING, Array

FLOW_UPSCALE = 2  # flow is sought on LR luma enlarged by this ...
FLOW_SIDE = 96  # ... up to this side: more pixels of the same face take longer, and find hardly more
STRIDE = 4  # pixels between patches
DESCENTS = 12  # steps of a patch's search: the cheapest part of it
# Of the flow between the patches: once at each scale, and so often at the finest one. Four fifths of the time of five
# at each, and references are worth as much.
REFINEMENTS, RELAXATIONS = 4, 3
MAX_TURN = math.radians(40)
MAX_FLOW_LR = 4.0  # pixels of LR; a face does not move further than this after the landmarks are laid over each other


class Registration:
    """Dense registration of exemplars to LR faces. Not thread-safe: one per thread."""

    def __init__(self, side: int = FLOW_SIDE, stride: int = STRIDE, descents: int = DESCENTS) -> None:
        """Smaller sides, larger strides and fewer descents are faster, and less exact."""
        self._side = side
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._dis.setFinestScale(0)
        self._dis.setPatchSize(8)
        self._dis.setPatchStride(stride)
        self._dis.setGradientDescentIterations(descents)
        self._dis.setVariationalRefinementIterations(1)
        self._refinement = cv2.VariationalRefinement.create()
        self._refinement.setFixedPointIterations(REFINEMENTS)
        self._refinement.setSorIterations(RELAXATIONS)
        self._refinement.setAlpha(20)  # smoothness, against 5 and 10 for light and gradients: as DIS has it
        self._refinement.setDelta(5)
        self._refinement.setGamma(10)

    def flow(self, reference: Array, lr: Array) -> Array:
        """Where each LR pixel's content lies in the reference.

        reference: luma uint8 (s*h, s*w); lr: luma uint8 (h, w).
        Returns float32 (H, W, 2), displacements (x, y) in pixels of that size, which is lr's or larger.
        """
        height, width = lr.shape
        up = max(1.0, min(FLOW_UPSCALE, self._side / max(height, width)))
        size = (round(width * up), round(height * up))
        coarse = cv2.resize(reference, (width, height), interpolation=cv2.INTER_AREA)
        target = cv2.resize(lr, size, interpolation=cv2.INTER_CUBIC)
        source = cv2.resize(_match(coarse, lr), size, interpolation=cv2.INTER_CUBIC)
        flow: Array = self._refinement.calc(target, source, self._dis.calc(target, source, NOTHING))
        np.clip(flow, -MAX_FLOW_LR * up, MAX_FLOW_LR * up, out=flow)
        return flow

    def register(self, reference: Array, lr: Array) -> Array:
        """The reference moved onto the LR picture's content; uint8 (s*h, s*w), as `flow` takes them."""
        height, width = reference.shape
        flow = self.flow(reference, lr)
        scale = width / flow.shape[1]
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
        moved = cv2.scaleAdd(flow, scale, places_of(height, width))
        return cv2.remap(reference, moved, NOTHING, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=16)
def places_of(height: int, width: int) -> Array:
    """Every pixel's own place, float32 (H, W, 2) as (x, y); not to be written to."""
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    places = np.stack((xs, ys), axis=-1)
    places.flags.writeable = False
    return places


def _match(image: Array, to: Array) -> Array:
    """`image` with the mean and contrast of `to`, so that flow sees shapes and not lighting."""
    (mean, deviation), (wanted, spread) = (cv2.meanStdDev(one) for one in (image, to))
    gain = spread.item() / max(deviation.item(), 1.0)
    return cv2.convertScaleAbs(image, alpha=gain, beta=wanted.item() - gain * mean.item())


def luma(rgb: Array) -> Array:
    """uint8 (H, W, 3) to uint8 (H, W), BT.601 as in the network's HR extractor."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def similarity(source: Array, target: Array) -> Array:
    """The rotation, scale and shift (2, 3) that brings points to points in the least squares (Umeyama, 1991).

    Turns over 40 degrees and points without extent are mistakes of the detector: then only scale and shift count.
    """
    centre_s, centre_t = source.mean(axis=0), target.mean(axis=0)
    s, t = source - centre_s, target - centre_t
    extent = float((s * s).sum())
    if extent < 1e-6:
        return np.array([[1.0, 0.0, centre_t[0] - centre_s[0]], [0.0, 1.0, centre_t[1] - centre_s[1]]])
    a = float((s * t).sum()) / extent
    b = float((s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum()) / extent
    if abs(math.atan2(b, a)) > MAX_TURN or a <= 0:
        a, b = math.sqrt(float((t * t).sum()) / extent), 0.0
    matrix = np.array([[a, -b, 0.0], [b, a, 0.0]])
    matrix[:, 2] = centre_t - matrix[:, :2] @ centre_s
    return matrix


def similarities(sources: Array, targets: Array) -> Array:
    """`similarity` of many at once: points (B, P, 2), matrices float64 (B, 2, 3). Of one, it takes twice as long."""
    sources, targets = sources.astype(np.float64), targets.astype(np.float64)
    centres_s, centres_t = sources.mean(axis=1), targets.mean(axis=1)
    s, t = sources - centres_s[:, None], targets - centres_t[:, None]
    extent = (s * s).sum(axis=(1, 2))
    usable = extent >= 1e-6
    extent = np.where(usable, extent, 1.0)
    a = (s * t).sum(axis=(1, 2)) / extent
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(axis=1) / extent
    upright = (np.abs(np.arctan2(b, a)) > MAX_TURN) | (a <= 0)
    a = np.where(usable, np.where(upright, np.sqrt((t * t).sum(axis=(1, 2)) / extent), a), 1.0)
    b = np.where(usable & ~upright, b, 0.0)
    matrices = np.empty((len(a), 2, 3))
    matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1] = a, -b, b, a
    matrices[:, :, 2] = centres_t - np.einsum("bij,bj->bi", matrices[:, :, :2], centres_s)
    return matrices
