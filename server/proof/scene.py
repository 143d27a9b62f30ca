"""A clip as it is sent, and the truth about its face: which frames, how they lie in the call's picture, where the face
is in each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from hime_core.arrays import Array
from hime_core.errors import InputError
from hime_core.faces.detector import Detection, MtcnnDetector
from hime_core.faces.geometry import Headshot, headshot_of, iou
from hime_core.video.picture import Picture
from server.proof.numbers import numbered
from server.proof.plan import LEAD, Timing

LONGEST = 1280  # pixels of a clip that are kept
DETECTED_AT = 640  # pixels of the longer side
SAME_FACE = 0.4  # overlap of the boxes of neighbouring frames
FEWEST_FRAMES, FEWEST_FACES = 12, 8
SIDE = 256  # of the pictures that are compared


class Unusable(Exception):
    """A clip cannot serve for a cell; the message says why."""


@dataclass(frozen=True, eq=False)
class Clip:
    """frames: RGB uint8 (H, W, 3), `fps` of them a second; split: how many of them may be sent at the good rate, none
    of which is ever measured; faces: the largest face of each frame from there on, None without one."""

    name: str
    frames: list[Array]
    fps: float
    split: int
    faces: dict[int, Headshot | None]

    @property
    def size(self) -> tuple[int, int]:
        return self.frames[0].shape[1], self.frames[0].shape[0]

    def headshot(self) -> Headshot:
        """The median one. Raises Unusable."""
        found = [face for face in self.faces.values() if face]
        if len(found) < FEWEST_FACES:
            raise Unusable(f"{self.name}: {len(found)} of its last {len(self.faces)} frames show a face")
        return Headshot(*(float(np.median([getattr(f, part) for f in found])) for part in ("cx", "cy", "side")))


def read_clip(path: Path, timing: Timing) -> Clip:
    """As many frames as a call takes, from the first face to the last, and the faces in those that may be measured.

    A clip that is shorter is split in the same proportion, and each part is sent back and forth: frames that fill the
    bank are never those that are measured. Raises Unusable, and InputError for what is no video.
    """
    detector = MtcnnDetector()
    frames, fps = _read(path, timing, lambda rgb: _face(rgb, detector, None) is not None)
    faces: list[Headshot | None] = []
    before = None
    for frame in frames:
        face = _face(frame, detector, before)
        faces.append(headshot_of(face.box) if face else None)
        before = face or before
    shown = [index for index, face in enumerate(faces) if face]
    begin, end = (shown[0], shown[-1] + 1) if shown else (0, 0)
    frames, faces = frames[begin:end], faces[begin:end]
    if len(frames) < FEWEST_FRAMES:
        raise Unusable(f"{path.name}: {len(frames)} frames with a face, at {fps:.3g} a second, are too few")
    enough = len(frames) >= round(timing.seconds * fps)
    split = round(timing.good * fps) if enough else round(len(frames) * timing.good / timing.seconds)
    return Clip(path.stem, frames, fps, split, {index: faces[index] for index in range(split, len(frames))})


def _read(path: Path, timing: Timing, starts: Callable[[Array], bool]) -> tuple[list[Array], float]:
    """Frames from the first second on whose first frame `starts`, and how many of them a second has."""
    frames: list[Array] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or 30)
            every = max(1, math.ceil(rate / timing.fps - 0.01))
            most = math.ceil(timing.seconds * rate / every)
            for number, frame in enumerate(container.decode(stream)):
                if number % every or (not frames and number // every % round(rate / every)):
                    continue
                rgb = _upright(frame)
                if frames or starts(rgb):
                    frames.append(rgb)
                if len(frames) == most:
                    break
    except (OSError, IndexError, av.FFmpegError) as error:
        raise InputError(f"{path} is not a readable video: {error}") from error
    return frames, rate / every


def _upright(frame: av.VideoFrame) -> Array:
    rgb: Array = frame.to_ndarray(format="rgb24")
    if frame.rotation:
        rgb = np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)))
    if (scale := LONGEST / max(rgb.shape[:2])) < 1:
        rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return rgb


def _face(rgb: Array, detector: MtcnnDetector, before: Detection | None) -> Detection | None:
    """The face that was there before, or else the largest."""
    scale = min(1.0, DETECTED_AT / max(rgb.shape[:2]))
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
    found = [face.moved(rgb.shape[1] / small.shape[1], 0, 0) for face in detector.detect(small)]
    same = [face for face in found if before and iou(face.box, before.box) > SAME_FACE]
    return max(same or found, key=lambda face: face.box.height, default=None)


@dataclass(frozen=True)
class Geometry:
    """The frame of width x height shows the clip from (left, top) on, each of whose pixels becomes `scale` pixels.
    Edges of pixels are at whole numbers here. What lies outside of the clip repeats its border."""

    width: int
    height: int
    scale: float
    left: float = 0.0
    top: float = 0.0

    def picture(self, rgb: Array) -> Picture:
        """What the camera of the call gives."""
        right, bottom = self.left + self.width / self.scale, self.top + self.height / self.scale
        return Picture.from_rgb(resized(rgb, (self.left, self.top, right, bottom), (self.width, self.height)))

    def placed(self, headshot: Headshot) -> Headshot:
        """A headshot of the clip, in the frame."""
        cx, cy = (headshot.cx + 0.5 - self.left) * self.scale, (headshot.cy + 0.5 - self.top) * self.scale
        return Headshot(cx - 0.5, cy - 0.5, headshot.side * self.scale)


def framed(clip: Clip, width: int, height: int, side: int | None) -> Geometry:
    """side: of the face's median headshot, pixels, in the middle of the frame; None: the clip whole, and the frame as
    much of width x height as it fills. Raises Unusable where the clip would have to be enlarged."""
    if side is None:
        scale = min(1.0, width / clip.size[0], height / clip.size[1])
        width, height = (2 * max(16, round(length * scale / 2)) for length in clip.size)
        return Geometry(width, height, scale)
    headshot = clip.headshot()
    if headshot.side < side:
        raise Unusable(f"{clip.name}: its headshot has {headshot.side:.0f} px, and {side} are asked for")
    scale = side / headshot.side
    left, top = headshot.cx + 0.5 - width / scale / 2, headshot.cy + 0.5 - height / scale / 2
    return Geometry(width, height, scale, left, top)


@dataclass(frozen=True, eq=False)
class Scene:
    """A clip in its geometry, as numbered frames of a call: numbers without a picture of the clip, then the good rate,
    then the low one. `low` is the first number that is sent at the low rate, `first` the first that is measured and
    `end` one past the last."""

    clip: Clip
    geometry: Geometry
    lead: int
    low: int
    first: int
    end: int
    _pictures: dict[int, Picture] = field(default_factory=dict)  # by the clip's frame: every bitrate sends the same

    def picture(self, number: int) -> Picture:
        if number < self.lead:
            width, height = self.geometry.width, self.geometry.height
            grey = np.full((height // 2, width // 2), 128, np.uint8)
            return Picture(numbered(width, height, number), grey, grey)
        index = self.index(number)
        if index not in self._pictures:
            self._pictures[index] = self.geometry.picture(self.clip.frames[index])
        return self._pictures[index]

    def index(self, number: int) -> int:
        """Of the clip's frame that the number'th of the call shows."""
        split, after = self.clip.split, number - self.low
        if after < 0:
            return split - 1 - _back_and_forth(-1 - after, split)
        return split + _back_and_forth(after, len(self.clip.frames) - split)

    def face(self, number: int) -> Headshot | None:
        """In the frame; None where none is to be measured."""
        found = self.clip.faces[self.index(number)] if self.first <= number < self.end else None
        return self.geometry.placed(found) if found else None

    def truth(self, number: int, headshot: Headshot) -> Array:
        """What the clip shows where the frame shows a headshot, uint8 (256, 256, 3)."""
        g = self.geometry
        cx, cy = (headshot.cx + 0.5) / g.scale + g.left - 0.5, (headshot.cy + 0.5) / g.scale + g.top - 0.5
        return cut(self.clip.frames[self.index(number)], Headshot(cx, cy, headshot.side / g.scale))


def stage(clip: Clip, geometry: Geometry, timing: Timing) -> Scene:
    """Raises Unusable where hardly a face would be measured."""
    lead = max(8, round(LEAD * clip.fps))
    low = lead + round(timing.good * clip.fps)
    first = low + round(timing.settle * clip.fps)
    scene = Scene(clip, geometry, lead, low, first, first + round(timing.measured * clip.fps))
    faces = sum(scene.face(number) is not None for number in range(scene.first, scene.end))
    if faces < FEWEST_FACES:
        raise Unusable(f"{clip.name}: {faces} of the {scene.end - scene.first} frames to be measured show a face")
    return scene


def cut(rgb: Array, headshot: Headshot, side: int = SIDE) -> Array:
    """A headshot brought to (side, side, 3) by Pillow's BICUBIC, which takes means where it reduces."""
    left, top = headshot.cx + 0.5 - headshot.side / 2, headshot.cy + 0.5 - headshot.side / 2
    return resized(rgb, (left, top, left + headshot.side, top + headshot.side), (side, side))


def resized(rgb: Array, box: tuple[float, float, float, float], size: tuple[int, int]) -> Array:
    """The box (left, top, right, bottom) of a picture at a size; past its border, edge pixels are repeated."""
    height, width = rgb.shape[:2]
    left, top, right, bottom = box
    above, below, before, after = (max(0, math.ceil(n)) for n in (-top, bottom - height, -left, right - width))
    if any((above, below, before, after)):
        rgb = cv2.copyMakeBorder(rgb, above, below, before, after, cv2.BORDER_REPLICATE)
    box = (left + before, top + above, right + before, bottom + above)
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, box=box))


def moved(headshot: Headshot, scale: float, left: float = 0.0, top: float = 0.0) -> Headshot:
    """The headshot in a picture that is `scale` times as large, of which the part from (left, top) on is at hand."""
    cx, cy = ((c + 0.5) * scale - 0.5 for c in (headshot.cx, headshot.cy))
    return replace(headshot, cx=cx - left, cy=cy - top, side=headshot.side * scale)


def _back_and_forth(step: int, length: int) -> int:
    """0, 1, ... length - 1, length - 2, ... 0, 1, ..."""
    if length < 2:
        return 0
    place = step % (2 * (length - 1))
    return min(place, 2 * (length - 1) - place)
