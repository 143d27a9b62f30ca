"""A person who comes close to the camera and goes away again, with the truth at four times the call's resolution."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from aiortc import MediaStreamTrack
from skimage import data

from hime_core.video.picture import Picture

WIDTH, HEIGHT, SCALE, FPS = 320, 180, 4, 20  # SCALE: of the truth, which is 1280x720
CLOSE_SIDE, FAR_SIDE = 150.0, 31.0  # pixels of the call
CLOSE_FRAMES, WALK_FRAMES = 70, 30


@dataclass(frozen=True, eq=False)
class Person:
    """Pictures, shown one after the other, and where the headshot is in them: centre and side."""

    pictures: Sequence[np.ndarray]
    headshot: tuple[float, float, float]


ASTRONAUT = Person((data.astronaut(),), (224.5, 122.0, 200.0))


class Portrait(MediaStreamTrack):
    """20 frames a second of 320x180 (or twice or four times that, with faces of the same number of pixels): close for
    3.5 s, 1.5 s of walking away, then far, swaying a little.

    Close, the person is turned, lit otherwise and seen through sensor noise, so that no exemplar is the truth's pixels.
    Each frame has a strip of blocks at its top that tells its number.
    """

    kind = "video"

    def __init__(self, first: int = 0, frames: int = 400, width: int = WIDTH, person: Person = ASTRONAUT) -> None:
        """The frames from number `first` on; made beforehand, as a camera's cost nothing. After the last one, time
        runs back and forth between it and the time when the person is far."""
        super().__init__()
        self.width, self.person = width, person
        self.number = first
        self._rng = np.random.default_rng(7)
        self._pictures = {n: Picture.from_rgb(self.shown(n)) for n in range(first, first + frames)}
        self._last = first + frames - 1
        self._first = first
        self._start: float | None = None

    async def recv(self) -> av.VideoFrame:
        self._start = self._start or time.monotonic()
        await asyncio.sleep(max(0.0, self._start + (self.number - self._first) / FPS - time.monotonic()))
        number, self.number = self.number, self.number + 1
        frame = self._pictures[self._played(number)].to_frame()
        frame.pts, frame.time_base = round(number * 90000 / FPS), Fraction(1, 90000)
        return frame

    def _played(self, number: int) -> int:
        if number <= self._last:
            return number
        far = min(self._last, max(self._first, CLOSE_FRAMES + WALK_FRAMES))
        span = self._last - far
        back = (number - self._last) % (2 * span) if span else 0
        return self._last - min(back, 2 * span - back)

    def shown(self, number: int) -> np.ndarray:
        """What the camera gives: RGB (180, 320, 3), or larger."""
        size = (self.width, self.width * HEIGHT // WIDTH)
        rgb = cv2.resize(truth(number, WIDTH / self.width, self.person), size, interpolation=cv2.INTER_AREA)
        if number < CLOSE_FRAMES:
            rgb = cv2.convertScaleAbs(rgb, alpha=0.85, beta=14)
        return np.clip(rgb + self._rng.normal(0, 1.5, rgb.shape), 0, 255).round().astype(np.uint8)


def truth(number: int, share: float = 1.0, person: Person = ASTRONAUT) -> np.ndarray:
    """The scene without noise at 1280x720; share: of the size that the person has in it at 320x180."""
    walked = min(1.0, max(0.0, (number - CLOSE_FRAMES) / WALK_FRAMES))
    side = CLOSE_SIDE * (FAR_SIDE / CLOSE_SIDE) ** walked
    angle = (1 - walked) * 4 + 1.0 * math.sin(number / 17)
    cx, cy = WIDTH / 2 + 5 * math.sin(number / 23), HEIGHT / 2 + 14 + 1.5 * math.sin(number / 13)
    zoom = side * SCALE * share / person.headshot[2]
    turn = cv2.getRotationMatrix2D(person.headshot[:2], angle, zoom)
    turn[:, 2] += (cx * SCALE - person.headshot[0], cy * SCALE - person.headshot[1])
    size = (WIDTH * SCALE, HEIGHT * SCALE)
    picture = person.pictures[number % len(person.pictures)]
    if zoom < 1:  # without this, shrinking would alias
        picture = cv2.GaussianBlur(picture, (0, 0), 0.4 / zoom)
    scene = cv2.warpAffine(picture, turn, size, flags=cv2.INTER_CUBIC, borderValue=(96, 104, 112))
    block = size[0] // 12
    for bit in range(12):
        scene[: 14 * SCALE, bit * block : (bit + 1) * block] = 210 if number >> bit & 1 else 45
    return scene


def number_of(picture: Picture) -> int:
    """The number of a received frame, at whatever size."""
    row = picture.y[round(picture.height * 7 / HEIGHT)]
    block = picture.width // 12
    return sum((int(row[bit * block + block // 2]) > 128) << bit for bit in range(12))


def face_region(number: int) -> tuple[slice, slice]:
    """The headshot's middle, in pixels of the truth."""
    cx, cy = WIDTH / 2 + 5 * math.sin(number / 23), HEIGHT / 2 + 14 + 1.5 * math.sin(number / 13)
    half = 0.36 * FAR_SIDE
    return tuple(slice(round((c - half) * SCALE), round((c + half) * SCALE)) for c in (cy, cx))
