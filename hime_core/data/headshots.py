"""Headshots by person: what training draws from, whatever it was read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hime_core.arrays import Array
from hime_core.data.degradations import decoded
from hime_core.errors import InputError
from hime_core.exemplars.photos import PHOTO_SUFFIXES

PHOTO_SIDE = 256
CLIP_SIDE = 384  # largest of a headshot from a clip: what LR 96 needs at x4


@dataclass(frozen=True, eq=False)
class Shot:
    """One headshot, square, kept encoded: thousands of them fit into memory, and decoding takes a millisecond.

    data: the encoded picture, or the file that holds it; landmarks: (5, 2) float32 in shares of the side from the top
    left corner, None where nobody looked; frame: its place in a clip in frames of 1/30 s; side: pixels.
    """

    data: bytes | Path
    landmarks: Array | None = None
    frame: int = 0
    side: int = PHOTO_SIDE

    def rgb(self) -> Array:
        """uint8 (side, side, 3). Raises InputError when a file has become unreadable."""
        if isinstance(self.data, Path):
            return _read(self.data, self.side)
        return decoded(self.data, cv2.IMREAD_COLOR_RGB)

    @property
    def encoded(self) -> bytes:
        """The encoded picture of a shot that lies in memory."""
        assert isinstance(self.data, bytes)
        return self.data


@dataclass(frozen=True, eq=False)
class Person:
    """name: of the identity or clip; clip: the shots are moments of one recording, in order."""

    name: str
    shots: tuple[Shot, ...]
    clip: bool = False


def read_identities(root: Path, split: str = "train") -> dict[str, list[Path]]:
    """`<identity>/<photo>` below root, sorted; of CelebAMask-HQ, which has no such folders, the "train" or "val" part.

    Raises InputError when there is none.
    """
    from hime_core.data.celebamask import is_celebamask, read_celebamask

    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give one that holds <identity>/<photo>.jpg")
    if is_celebamask(root):
        return read_celebamask(root, split)
    found = {
        folder.name: sorted(p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
        for folder in sorted(root.iterdir())
        if folder.is_dir()
    }
    found = {name: photos for name, photos in found.items() if photos}
    if not found:
        raise InputError(f"{root} holds no photos; it must hold <identity>/<photo>.jpg")
    return found


def read_photo(path: Path) -> Shot:
    """A photo file; of other sizes than PHOTO_SIDE only the header is looked at. Raises InputError."""
    try:
        with Image.open(path) as image:
            fits = image.size == (PHOTO_SIDE, PHOTO_SIDE)
        if not fits:
            return Shot(path)
        data = path.read_bytes()
        decoded(data)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a readable photo: {error}") from error
    return Shot(data)


def resize(rgb: Array, side: int) -> Array:
    """A picture brought to (side, side) by Pillow's BOX, as evaluation does."""
    if rgb.shape[:2] == (side, side):
        return np.ascontiguousarray(rgb)
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize((side, side), Image.Resampling.BOX))


def encode(rgb: Array, suffix: str = ".jpg", quality: int = 95) -> bytes:
    """JPEG with full chroma, or WebP."""
    options = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, quality,
                 cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
    }  # fmt: skip
    return cv2.imencode(suffix, np.ascontiguousarray(rgb[..., ::-1]), options[suffix])[1].tobytes()


def mirrored(landmarks: Array) -> Array:
    """Landmarks of the picture seen in a mirror: left and right change places."""
    return (np.array([1, 0], np.float32) + np.array([-1, 1], np.float32) * landmarks)[[1, 0, 2, 4, 3]]


def count(people: Sequence[Person]) -> int:
    return sum(len(person.shots) for person in people)


def _read(path: Path, side: int) -> Array:
    try:
        with Image.open(path) as image:
            return np.array(resize(np.asarray(image.convert("RGB")), side))
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a readable photo: {error}") from error
