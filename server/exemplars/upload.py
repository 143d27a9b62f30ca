"""Reads uploaded photos: any file may come in, only upright RGB pixels go on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from hime_core.arrays import U8
from server.limits.rates import Count, uncounted
from server.problems import Problem

FORMATS = ("JPEG", "PNG", "WEBP")
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap width and height
# A progressive JPEG of 10 MB may go over 40 megapixels for half an hour; cameras and editors write up to 20 scans.
MAX_SCANS = 64
_SCAN, _AFTER_SCAN = 0xDA, re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
LONGEST_SIDE = 2048  # a larger photo is reduced to this before a face is sought: exemplars are smaller still


@dataclass(frozen=True, eq=False)
class Photo:
    """rgb: uint8 (height, width, 3), upright; uploaded_width: the width before it was reduced, upright too."""

    rgb: U8
    uploaded_width: int


def read_photo(data: bytes, number: int, max_bytes: int, max_pixels: int, refused: Count = uncounted) -> Photo:
    """Decodes one photo, turned upright as its EXIF says; all else that the file holds is left behind.

    number: the photo's place in the request, from 1, which is all that an error tells of it. refused: counts what is
    too large.
    Raises Problem 413 (too many bytes, or pixels by the header, before any is decoded) or 415 (not a photo).
    """
    if len(data) > max_bytes:
        refused("photo_bytes")
        detail = f"Photo {number} has {len(data)} bytes; at most {max_bytes} are taken."
        raise Problem(413, detail, kind="photo-too-large", photo=number, most=max_bytes)

    def too_many() -> Problem:
        refused("photo_pixels")
        detail = f"Photo {number} has too many pixels; at most {max_pixels} are taken."
        return Problem(413, detail, kind="photo-too-many-pixels", photo=number, most=max_pixels)

    def not_a_photo() -> Problem:
        detail = f"Photo {number} is not a picture that can be read; JPEG, PNG and WebP are taken."
        return Problem(415, detail, kind="not-a-photo", photo=number)

    # Pillow's readers raise errors of many kinds on broken files, so all of them mean one thing here.
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise too_many() from None
    except Exception:
        raise not_a_photo() from None
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise too_many()
        if image.format == "JPEG" and _scans(data) > MAX_SCANS:
            detail = f"Photo {number} is a JPEG of more than {MAX_SCANS} scans; saved again, it has fewer."
            raise Problem(415, detail, kind="photo-too-many-scans", photo=number)
        try:
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
            turned = image.getexif().get(ORIENTATION) in SIDEWAYS
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits of grey, which convert() would clip
                upright = Image.fromarray((np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8))
            upright = upright.convert("RGB")
        except Exception:
            raise not_a_photo() from None
    return Photo(np.array(upright), height if turned else width)


def _scans(jpeg: bytes) -> int:
    """How often a JPEG goes over its picture; past one more than `MAX_SCANS` they are not counted."""
    scans, at = 0, 2
    while scans <= MAX_SCANS and (marker := _AFTER_SCAN.search(jpeg, at)):
        kind, at = jpeg[marker.end() - 1], marker.end()
        scans += kind == _SCAN
        at += int.from_bytes(jpeg[at : at + 2], "big")  # a segment begins with its length
    return scans
