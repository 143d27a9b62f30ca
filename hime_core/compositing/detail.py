"""Detail: what HIME adds to a plainly enlarged face, and how it is carried to later frames.

Adding a difference, and not pasting a picture, is what leaves no seam: where the mask fades, so does the difference,
down to the very pixels that the plain view shows. The difference has no light or colour of its own (its local mean is
taken away), so that nothing pulses when it comes and goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from hime_core.arrays import F32, NOTHING, U8, Array
from hime_core.faces.geometry import FaceSquare, crop, resized
from hime_core.faces.registration import Registration, places_of, similarity

FEATHER = 0.12  # of the side
LOCAL_MEAN_CELLS = 4  # the difference's mean is taken away on a grid of so many cells
DOUBT = 24.0  # grey levels of misfit at which carried detail counts for 1/e
# Between frames faces move less than between an exemplar and a frame: a coarser flow does (benchmarks/faces/flicker).
FLOW = {"side": 72, "stride": 4, "descents": 6}
LARGEST_LUMA = 64  # side of the luma that detail is carried by: more costs time and finds the same motion

# Differences of RGB to differences of BT.601 limited-range Y, Cb, Cr.
RGB_TO_YCC = np.array(
    [[0.2568, 0.5041, 0.0979], [-0.1482, -0.2910, 0.4392], [0.4392, -0.3678, -0.0714]], dtype=np.float32
)


@dataclass(frozen=True, eq=False)
class Detail:
    """What the network added to one face of one frame.

    difference: float32 (D, D, 3), Y, Cb, Cr; luma: uint8 (M, M), the frame's Y in the square (`luma_of`);
    landmarks: float32 (5, 2), in frame px; square: where; time: when its frame was received.
    """

    difference: F32
    luma: U8
    landmarks: F32
    square: FaceSquare
    time: float


@dataclass(frozen=True, eq=False)
class Patch:
    """Detail ready to be added: float32 (D, D, 3), masked, over the frame's square from (x, y) with its side."""

    x: int
    y: int
    side: int
    difference: F32


def luma_of(y: U8, square: FaceSquare) -> U8:
    """What detail is carried by: the frame's Y, uint8 (H, W), in a square, uint8 (M, M), M at most LARGEST_LUMA."""
    return resized(crop(y, square.x, square.y, square.side), min(square.side, LARGEST_LUMA))


def difference(sr: U8, plain: U8) -> F32:
    """Y, Cb, Cr of the enhanced face less the plain one, without local mean.

    sr, plain: RGB uint8 (D, D, 3). Returns float32 (D, D, 3).
    """
    side = sr.shape[0]
    added: Array = cv2.transform(cv2.subtract(sr, plain, dtype=cv2.CV_32F), RGB_TO_YCC)
    cells = cv2.resize(added, (LOCAL_MEAN_CELLS, LOCAL_MEAN_CELLS), interpolation=cv2.INTER_AREA)
    added -= cv2.resize(cells, (side, side), interpolation=cv2.INTER_LINEAR)
    return added


@lru_cache(maxsize=16)
def mask(side: int) -> F32:
    """float32 (side, side, 1): 1 inside, falling smoothly to 0 at the border."""
    ramp = np.clip((np.arange(side) + 0.5) / (FEATHER * side), 0, 1)
    ramp = np.minimum(ramp, ramp[::-1])
    edge = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    return np.outer(edge, edge)[..., None]


def patch(square: FaceSquare, added: F32, strength: float) -> Patch:
    return Patch(square.x, square.y, square.side, added * (mask(added.shape[0]) * np.float32(strength)))


class Carrier:
    """Moves detail along with the face. Not thread-safe."""

    def __init__(self) -> None:
        self._registration = Registration(**FLOW)

    def carry(
        self, detail: Detail, luma: U8, landmarks: F32, square: FaceSquare, size: int | None = None
    ) -> tuple[Array, Array]:
        """The detail as it fits a later frame: moved by the landmarks' similarity and dense flow.

        luma: of the later frame's square (`luma_of`), uint8 (M', M'); size: D' of what is returned, the detail's own
        unless given. Returns the difference, float32 (D', D', 3), and how far it can be trusted, (D', D', 1) in 0..1:
        less where the picture is no longer the one it was made for.
        """
        side, size = luma.shape[0], size or detail.difference.shape[0]
        # From pixels of the old luma to pixels of the new one.
        old = _inside(detail.landmarks, detail.square, detail.luma.shape[0])
        new = _inside(landmarks, square, side)
        back = cv2.invertAffineTransform(similarity(old, new))
        moved = cv2.warpAffine(
            detail.luma, back, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        flow = self._registration.flow(moved, luma)
        flow = cv2.resize(flow, (side, side), interpolation=cv2.INTER_AREA) * np.float32(side / flow.shape[1])
        places = places_of(side, side) + flow
        fitted = cv2.remap(moved, places, NOTHING, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        misfit = cv2.GaussianBlur(cv2.absdiff(fitted, luma).astype(np.float32), (0, 0), 1.5)
        trust = np.exp(-np.square(misfit / np.float32(DOUBT)))

        # The same way back, at the detail's own resolution.
        scale = detail.difference.shape[0] / detail.luma.shape[0]
        places = cv2.transform(places, np.column_stack((scale * back[:, :2], scale * (back[:, 2] + 0.5) - 0.5)))
        places = cv2.resize(places, (size, size), interpolation=cv2.INTER_LINEAR)
        carried = cv2.remap(
            detail.difference, places, NOTHING, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0),
        )  # fmt: skip
        return carried, cv2.resize(trust, (size, size), interpolation=cv2.INTER_LINEAR)[..., None]


def _inside(landmarks: Array, square: FaceSquare, side: int) -> Array:
    """Landmarks of the frame in pixels of the square at a side."""
    return (landmarks.astype(np.float64) - (square.x, square.y) + 0.5) * (side / square.side) - 0.5
