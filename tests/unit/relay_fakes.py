"""Stand-ins for the parts around the HTTP interface, and pictures to send to it."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import Future
from io import BytesIO

import numpy as np
from PIL import Image
from skimage.data import astronaut

from hime_core.faces.detector import Detection
from hime_core.faces.geometry import Box
from hime_core.people.people import People

FACE = Box(180.0, 61.0, 87.0, 112.0)  # in the astronaut's picture of 512 x 512
LANDMARKS = np.array([[203.5, 100], [247, 103], [224.5, 129], [201, 138.6], [244.6, 141.6]], np.float32)


class FakeDetector:
    """Finds the astronaut in every picture that is not of one colour, and keeps what it was shown."""

    def __init__(self):
        self.seen = []

    def for_stream(self):
        return self

    def detect(self, rgb, last=()):
        self.seen.append(rgb)
        if rgb.std() < 5:
            return []
        scale = rgb.shape[1] / 512
        box = Box(FACE.x * scale, FACE.y * scale, FACE.width * scale, FACE.height * scale)
        return [Detection(box, LANDMARKS * scale, 0.99)]


class FakeEngine:
    scale = 4

    def __init__(self):
        self.forgotten = set()
        self.closed = False

    def submit(self, requests):
        futures = [Future() for _ in requests]
        for future, request in zip(futures, requests, strict=True):
            future.set_result(np.repeat(np.repeat(request.lr, self.scale, 0), self.scale, 1))
        return futures

    def forget(self, exemplar_ids):
        self.forgotten |= set(exemplar_ids)

    def close(self):
        self.closed = True


class FakeRooms:
    """One running call of one person."""

    def __init__(self, person="ann"):
        self.people = People()
        self.people.expect(person)
        self.forgotten = []

    def people_with(self, person):
        return [self.people] if person in self.people.names() else []

    def persons(self):
        return self.people.names()

    def photos_in_use(self, person):
        return self.people.photos(person)

    def forget_photos(self, exemplar_ids):
        self.forgotten += exemplar_ids
        self.people.forget(exemplar_ids)

    def forget_person(self, person):
        self.people.forget_name(person)


def encoded(rgb, format="JPEG", **options) -> bytes:
    buffer = BytesIO()
    Image.fromarray(rgb).save(buffer, format, **options)
    return buffer.getvalue()


def portrait(format="JPEG", size=512, **options) -> bytes:
    image = Image.fromarray(astronaut()).resize((size, size), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    image.save(buffer, format, **({"quality": 95} if format == "JPEG" else {}) | options)
    return buffer.getvalue()


def plain(width=300, height=300) -> bytes:
    """A picture without a face."""
    return encoded(np.full((height, width, 3), 120, np.uint8))


def bomb(side=10_000) -> bytes:
    """A PNG that says it is side x side pixels, and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
