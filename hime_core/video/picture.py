"""One video frame as yuv420p planes, the form in which WebRTC codecs take and give it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange

from hime_core.arrays import U8, Array

CHROMA = np.array([[-0.1482, -0.2910, 0.4392, 128.0], [0.4392, -0.3678, -0.0714, 128.0]])  # BT.601, limited range


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame as three planes: yuv420p, BT.601 limited range.

    y: uint8 (H, W); u, v: uint8 (H/2, W/2); H and W are even.
    """

    y: U8
    u: U8
    v: U8
    # The frame that the planes lie in, until it is taken.
    _memory: list[av.VideoFrame] = field(default_factory=list, kw_only=True)

    @property
    def width(self) -> int:
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        return int(self.y.shape[0])

    @classmethod
    def from_frame(cls, frame: av.VideoFrame) -> Picture:
        """The planes of a decoded frame, not to be written to; an odd last row or column is left off.

        Raises ValueError for a frame narrower or lower than two pixels.
        """
        width, height = frame.width & ~1, frame.height & ~1
        if not (width and height):
            raise ValueError(f"a frame of {frame.width}x{frame.height} pixels; at least 2x2 are needed")
        if frame.format.name != "yuv420p" or frame.color_range == ColorRange.JPEG:
            frame = frame.reformat(format="yuv420p", dst_color_range=ColorRange.MPEG)
        y, u, v = map(_plane, frame.planes[:3])
        return cls(y[:height, :width], u[: height // 2, : width // 2], v[: height // 2, : width // 2])

    @classmethod
    def blank(cls, width: int, height: int) -> Picture:
        """Planes to be filled, in memory that to_frame() gives without a copy."""
        frame = av.VideoFrame(width, height, "yuv420p")
        return cls(*map(_plane, frame.planes), _memory=[frame])

    @classmethod
    def from_rgb(cls, rgb: Array) -> Picture:
        """rgb: uint8 (H, W, 3); an odd last row or column is left off.

        Each chroma sample is the mean of its four pixels, as in browsers; OpenCV's own conversion takes one of them.
        """
        rgb = rgb[: rgb.shape[0] & ~1, : rgb.shape[1] & ~1]
        height, width = rgb.shape[:2]
        y: Array = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)[:height].copy()
        half = cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        chroma: Sequence[Array] = cv2.split(cv2.transform(half, CHROMA))
        return cls(y, *chroma)

    def rgb(self) -> U8:
        """The frame as uint8 (H, W, 3)."""
        packed = np.concatenate((self.y.reshape(-1), self.u.reshape(-1), self.v.reshape(-1)))
        rgb: Array = cv2.cvtColor(packed.reshape(self.height * 3 // 2, self.width), cv2.COLOR_YUV2RGB_I420)
        return rgb

    def part(self, left: int, top: int, right: int, bottom: int) -> Picture:
        """The same planes where these edges are, pixels that lie in the frame: widened to even ones, as chroma samples
        are of two by two pixels."""
        left, top, right, bottom = left // 2, top // 2, (right + 1) // 2, (bottom + 1) // 2
        u, v = (plane[top:bottom, left:right] for plane in (self.u, self.v))
        return Picture(self.y[2 * top : 2 * bottom, 2 * left : 2 * right], u, v)

    def to_frame(self) -> av.VideoFrame:
        """A yuv420p frame of the caller's own; pts and time_base are the caller's to set.

        The first caller gets the memory of a blank() picture, which must not be changed from there on.
        """
        with suppress(IndexError):
            return self._memory.pop()
        frame = av.VideoFrame(self.width, self.height, "yuv420p")
        for source, plane in zip((self.y, self.u, self.v), frame.planes, strict=True):
            _lines(plane)[:, : source.shape[1]] = source
        return frame


def _plane(plane: av.video.plane.VideoPlane) -> U8:
    return _lines(plane)[:, : plane.width]


def _lines(plane: av.video.plane.VideoPlane) -> U8:
    """Everything in a plane's memory, (height, line_size)."""
    memory = cast("memoryview[int]", plane)  # it is a buffer, which its annotations leave out
    return np.frombuffer(memory, np.uint8).reshape(-1, plane.line_size)
