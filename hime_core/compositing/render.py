"""From an enhanced frame to the picture of one view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from hime_core.arrays import Array
from hime_core.compositing.detail import Patch
from hime_core.compositing.layout import USUAL_WIDTH, Layout, Placement, View, Zoom, upscaled
from hime_core.faces.geometry import Headshot
from hime_core.video.picture import Picture


class Renderable(Protocol):
    """What a frame must have to be rendered; hime_core.stream.enhancer.Enhanced is one."""

    @property
    def picture(self) -> Picture: ...
    @property
    def patches(self) -> Sequence[Patch]: ...
    @property
    def faces(self) -> tuple[Headshot, ...]: ...


@dataclass(frozen=True, eq=False)
class Placed:
    """A view's picture before anything is added to it. enhanced: the part of it that patches belong to, planes of
    `picture` itself; None in a view that shows none."""

    picture: Picture
    enhanced: Picture | None
    placement: Placement


class Renderer:
    """One view of one stream; keeps the zoom's state. Not thread-safe."""

    def __init__(self, view: View, layout: Layout, width: int | None = None) -> None:
        """width: pixels of the longer side that the watcher shows; None: it does not say. `native` heeds none."""
        self.view, self.layout = view, layout
        self._width = width or USUAL_WIDTH
        self._zoom = Zoom(width)

    def render(self, frame: Renderable) -> Picture:
        """The view's picture. Its size depends on the layout, the width and the frame's size alone; `compare` is
        twice as wide: original left, enhanced right."""
        return self.add(self.place(frame.picture, frame.faces), frame.patches)

    def place(self, picture: Picture, faces: tuple[Headshot, ...]) -> Placed:
        """The first half of rendering, which needs no patches: it can be done while they are being made."""
        match self.layout:
            case "upscale":
                placement = upscaled(picture.width, picture.height, self._width)
            case "zoom":
                placement = self._zoom.place(picture.width, picture.height, faces)
            case "native":
                placement = Placement(picture.width, picture.height, 1.0)
        plain = place(picture, placement)
        match self.view:
            case "original":
                return Placed(plain, None, placement)
            case "enhanced":
                return Placed(plain, plain, placement)
        both = Picture(*(np.hstack((plane, plane)) for plane in (plain.y, plain.u, plain.v)))
        right = Picture(*(plane[:, plane.shape[1] // 2 :] for plane in (both.y, both.u, both.v)))
        return Placed(both, right, placement)

    def add(self, placed: Placed, patches: Sequence[Patch]) -> Picture:
        """The second half: `placed` with the patches, in its own planes."""
        if placed.enhanced is not None:
            add_patches(placed.enhanced, placed.placement, patches)
        return placed.picture


def place(picture: Picture, placement: Placement) -> Picture:
    """The frame as the placement shows it, bicubic; planes of its own."""
    placed = Picture.blank(placement.width, placement.height)
    _place_plane(picture.y, placed.y, placement, 1)
    _place_plane(picture.u, placed.u, placement, 2)
    _place_plane(picture.v, placed.v, placement, 2)
    return placed


def add_patches(picture: Picture, placement: Placement, patches: Sequence[Patch]) -> Picture:
    """Adds the patches to a placed picture, in its own planes, and returns it."""
    for patch in patches:
        _add(picture.y, patch, patch.difference[..., :1], placement, 1)
        _add_chroma(picture, patch, placement)
    return picture


def _add_chroma(picture: Picture, patch: Patch, placement: Placement) -> None:
    for plane, channel in ((picture.u, 1), (picture.v, 2)):
        _add(plane, patch, patch.difference[..., channel : channel + 1], placement, 2)


def _place_plane(plane: Array, placed: Array, placement: Placement, subsampling: int) -> None:
    """Fills the plane `placed`."""
    size = placed.shape[1], placed.shape[0]
    if placement.left == 0 and placement.top == 0:
        if placed.shape == plane.shape and placement.scale == 1:
            placed[...] = plane
            return
        if placement.scale * plane.shape[1] - size[0] < 1 and placement.scale * plane.shape[0] - size[1] < 1:
            cv2.resize(plane, size, placed, interpolation=cv2.INTER_CUBIC)
            return
    back = 1.0 / placement.scale
    matrix = np.array(
        [
            [back, 0.0, 0.5 * back + placement.left / subsampling - 0.5],
            [0.0, back, 0.5 * back + placement.top / subsampling - 0.5],
        ]
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    cv2.warpAffine(plane, matrix, size, placed, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _add(plane: Array, patch: Patch, added: Array, placement: Placement, subsampling: int) -> None:
    """Adds one channel of a patch to one plane, in place."""
    scale = placement.scale / subsampling  # plane pixels per frame pixel
    left = (patch.x - placement.left) * scale
    top = (patch.y - placement.top) * scale
    x0, y0 = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
    x1 = min(plane.shape[1], int(np.ceil(left + patch.side * scale)))
    y1 = min(plane.shape[0], int(np.ceil(top + patch.side * scale)))
    if x1 <= x0 or y1 <= y0:
        return
    size = max(1, round(patch.side * scale))
    if size < added.shape[0]:
        added = cv2.resize(added, (size, size), interpolation=cv2.INTER_AREA)
    per_pixel = added.shape[0] / (patch.side * scale)
    matrix = np.array(
        [
            [per_pixel, 0.0, (x0 + 0.5 - left) * per_pixel - 0.5],
            [0.0, per_pixel, (y0 + 0.5 - top) * per_pixel - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    placed = cv2.warpAffine(added, matrix, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    region = plane[y0:y1, x0:x1]
    region[...] = cv2.add(region, placed, dtype=cv2.CV_8U)
