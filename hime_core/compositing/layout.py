"""Layouts: how a view's pixels lie over the frame's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hime_core.errors import InputError
from hime_core.faces.geometry import Headshot

Layout = Literal["upscale", "zoom", "native"]
View = Literal["enhanced", "original", "compare"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

MAX_ENLARGEMENT = 4.0
# Pixels of the longer side that views are made for: few, so that watchers with windows of all sizes share encodings.
WIDTHS = (640, 960, 1280, 1600, 1920)
USUAL_WIDTH = 1280  # for watchers who do not say what they show
MAX_COMPARED = 1280  # of each half of `compare`, which is encoded as one picture of twice the width
ZOOM_ROOM = 1.5  # a zoomed crop's shorter side, in headshot sides
ZOOM_LIMIT = 4.0  # the crop is no smaller than a quarter of the frame's width and height
ZOOM_REST = 0.10  # changes below this share of the crop are not followed ...
ZOOM_SETTLED = 0.02  # ... until one is larger; then the crop moves until it is this near
ZOOM_PACE = 0.12  # of the way left, per frame


def parse_layout(text: str) -> Layout:
    """Raises InputError for a word that is none of LAYOUTS."""
    for layout in LAYOUTS:
        if layout == text:
            return layout
    raise InputError(f"--layout {text}: it must be one of {', '.join(LAYOUTS)}")


@dataclass(frozen=True)
class Placement:
    """An output of width x height whose pixel X shows the frame at x = (X + 0.5) / scale + left - 0.5."""

    width: int
    height: int
    scale: float
    left: float = 0.0
    top: float = 0.0


def width_class(view: View, layout: Layout, shown: int | None) -> int | None:
    """The one of WIDTHS that a view is made for: the next one up, the largest for all beyond.

    shown: pixels of the longer side that the watcher shows, at least 1; None: it does not say. None is returned where
    the frame keeps its own size.
    """
    if layout == "native" or (layout == "zoom" and shown is None):
        return None
    most = MAX_COMPARED if view == "compare" else WIDTHS[-1]
    wanted = min(shown or USUAL_WIDTH, most)
    return next(width for width in WIDTHS if width >= wanted)


def enlargement(width: int, height: int, shown: int = USUAL_WIDTH) -> float:
    """The `upscale` layout's factor: min(4, shown / longer side, 9/16 shown / shorter side), at least 1.

    width, height: the frame's; shown: pixels of the longer side that the watcher shows.
    """
    return max(1.0, min(MAX_ENLARGEMENT, shown / max(width, height), shown * 9 / 16 / min(width, height)))


def upscaled(width: int, height: int, shown: int = USUAL_WIDTH) -> Placement:
    """The whole frame, enlarged; its output has even sizes."""
    scale = enlargement(width, height, shown)
    return Placement(2 * round(width * scale / 2), 2 * round(height * scale / 2), scale)


class Zoom:
    """Follows the largest face, with hysteresis: still faces give a still picture. One per view."""

    def __init__(self, shown: int | None = None) -> None:
        """shown: pixels of the longer side that the watcher shows; None: the frame's own size is what it gets."""
        self._shown = shown
        self._crop: tuple[float, float, float] | None = None  # centre and magnification
        self._moving = False
        self._size = (0, 0)

    def place(self, width: int, height: int, faces: tuple[Headshot, ...]) -> Placement:
        """The next frame's placement; its output has the frame's own size, or that of `upscaled`."""
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
        output = upscaled(width, height, self._shown) if self._shown else Placement(width, height, 1.0)
        return Placement(output.width, output.height, zoom * output.scale, cx - half_w, cy - half_h)
