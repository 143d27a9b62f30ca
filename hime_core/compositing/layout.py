"""Layouts: how a view's pixels lie over the frame's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hime_core.faces.geometry import Headshot

Layout = Literal["upscale", "zoom", "native"]
View = Literal["enhanced", "original", "compare"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
VIEWS: tuple[View, ...] = get_args(View)

MAX_ENLARGEMENT = 4.0
MAX_LONGER, MAX_SHORTER = 1280, 720
ZOOM_ROOM = 1.5  # a zoomed crop's shorter side, in headshot sides
ZOOM_LIMIT = 4.0  # the crop is no smaller than a quarter of the frame's width and height
ZOOM_REST = 0.10  # changes below this share of the crop are not followed ...
ZOOM_SETTLED = 0.02  # ... until one is larger; then the crop moves until it is this near
ZOOM_PACE = 0.12  # of the way left, per frame


@dataclass(frozen=True)
class Placement:
    """An output of width x height whose pixel X shows the frame at x = (X + 0.5) / scale + left - 0.5."""

    width: int
    height: int
    scale: float
    left: float = 0.0
    top: float = 0.0


def enlargement(width: int, height: int) -> float:
    """The `upscale` layout's factor: min(4, 1280 / longer side, 720 / shorter side), at least 1."""
    return max(1.0, min(MAX_ENLARGEMENT, MAX_LONGER / max(width, height), MAX_SHORTER / min(width, height)))


def upscaled(width: int, height: int) -> Placement:
    scale = enlargement(width, height)
    return Placement(2 * round(width * scale / 2), 2 * round(height * scale / 2), scale)


class Zoom:
    """Follows the largest face, with hysteresis: still faces give a still picture. One per view."""

    def __init__(self) -> None:
        self._crop: tuple[float, float, float] | None = None  # centre and magnification
        self._moving = False
        self._size = (0, 0)

    def place(self, width: int, height: int, faces: tuple[Headshot, ...]) -> Placement:
        """The next frame's placement; its output has the frame's own size."""
        if self._crop is None or self._size != (width, height):
            self._crop, self._size = (width / 2, height / 2, 1.0), (width, height)
        cx, cy, zoom = self._crop
        if faces:
            face = max(faces, key=lambda f: f.side)
            target_zoom = min(ZOOM_LIMIT, max(1.0, min(width, height) / (ZOOM_ROOM * face.side)))
            target = (face.cx, face.cy, target_zoom)
            away = max(
                abs(target[0] - cx) * zoom / width, abs(target[1] - cy) * zoom / height, abs(target_zoom / zoom - 1)
            )
            self._moving = away > (ZOOM_SETTLED if self._moving else ZOOM_REST)
            if self._moving:
                cx, cy, zoom = (a + ZOOM_PACE * (b - a) for a, b in zip(self._crop, target, strict=True))
        half_w, half_h = width / (2 * zoom), height / (2 * zoom)
        cx = min(max(cx, half_w), width - half_w)
        cy = min(max(cy, half_h), height - half_h)
        self._crop = (cx, cy, zoom)
        return Placement(width, height, zoom, cx - half_w, cy - half_h)
