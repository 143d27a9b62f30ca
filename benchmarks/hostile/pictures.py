"""Pictures that are cut, flipped, lie about themselves or unpack to far more than they are."""

from __future__ import annotations

import functools
import struct
import zlib
from io import BytesIO
from random import Random

import numpy as np
from PIL import Image

from benchmarks.hostile.chance import EDGES, damaged, noise, number

_SIZES = ((48, 36), (1, 1), (2, 200), (200, 2), (64, 64))


@functools.cache
def samples() -> tuple[bytes, ...]:
    """Whole pictures of every kind that Pillow writes, those that are not taken among them."""
    made = []
    for width, height in _SIZES:
        y, x = np.mgrid[:height, :width]
        rgb = np.stack([x * 5 % 256, y * 7 % 256, (x + y) % 256], -1).astype(np.uint8)
        image = Image.fromarray(rgb)
        deep = Image.fromarray((x * 900 + y).astype(np.uint16))
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = 6, "x" * 50
        made += [
            _saved(image, "JPEG", exif=exif),
            _saved(image, "JPEG", progressive=True),
            _saved(image.convert("CMYK"), "JPEG"),
            _saved(image.convert("L"), "JPEG"),
            _saved(image, "PNG", exif=exif),
            _saved(image.convert("RGBA"), "PNG"),
            _saved(image.convert("P"), "PNG", transparency=3),
            _saved(image.convert("1"), "PNG"),
            _saved(image.convert("LA"), "PNG"),
            _saved(deep, "PNG"),
            _saved(image, "PNG", save_all=True, append_images=[image.rotate(90)] * 3),
            _saved(image, "WEBP"),
            _saved(image.convert("RGBA"), "WEBP", lossless=True),
            _saved(image, "WEBP", save_all=True, append_images=[image.rotate(90)] * 3),
            _saved(image, "GIF"),
            _saved(image, "TIFF"),
            _saved(image, "BMP"),
        ]
    return tuple(made)


def picture(rng: Random) -> bytes:
    """A file that is called a photo."""
    whole = rng.choice(samples())
    match rng.randrange(12):
        case 0:
            return whole
        case 1:
            return b"" if rng.random() < 0.3 else noise(rng, rng.choice((1, 2, 12, 500)))
        case 2:
            return png(
                _side(rng), _side(rng), depth=rng.choice((1, 2, 4, 8, 16, 3)), colour=rng.choice((0, 2, 3, 4, 6, 9))
            )
        case 3:
            return png(30, 30, chunks=[(rng.choice((b"zTXt", b"iCCP", b"iTXt", b"eXIf", b"tRNS")), _chunk(rng))])
        case 4:
            return sized_jpeg(rng, whole)
        case 5:
            return whole[:2] + _app1(rng) + whole[2:]
        case 6:
            return sized_webp(rng)
        case 7:
            return whole + damaged(rng, whole)
        case 8:
            return scans(rng.choice((1, 3, 40, 400)))
        case _:
            return damaged(rng, whole, 6)


def png(
    width: int, height: int, depth: int = 8, colour: int = 2, chunks: list[tuple[bytes, bytes]] | None = None
) -> bytes:
    """One whose header says all that, and whose pixels are a few zeros."""
    header = struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, depth, colour, 0, 0, 0)
    body = b"".join(_png_chunk(kind, data) for kind, data in chunks or [])
    parts = _png_chunk(b"IHDR", header) + body + _png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + parts + _png_chunk(b"IEND", b"")


def sized_jpeg(rng: Random, jpeg: bytes) -> bytes:
    """A JPEG whose frame header says another size, or another number of components."""
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        at = jpeg.find(marker)
        if at > 0 and len(jpeg) > at + 10:
            size = struct.pack(">HH", _side(rng) & 0xFFFF, _side(rng) & 0xFFFF)
            parts = jpeg[at + 9] if rng.random() < 0.7 else rng.choice((0, 1, 2, 4, 255))
            return jpeg[: at + 5] + size + bytes([parts]) + jpeg[at + 10 :]
    return jpeg


def sized_webp(rng: Random) -> bytes:
    """An extended WebP whose canvas is as large as it says."""
    still = Image.fromarray(np.zeros((20, 20, 3), np.uint8))
    vp8 = _saved(still, "WEBP")[12:]
    canvas = b"".join(struct.pack("<I", (_side(rng) - 1) & 0xFFFFFF)[:3] for _ in range(2))
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + bytes([rng.choice((0, 2, 0x10, 0x3E)), 0, 0, 0]) + canvas + vp8
    return b"RIFF" + struct.pack("<I", len(body)) + body


def scans(count: int, width: int = 64, height: int = 64) -> bytes:
    """A progressive JPEG that goes over its picture so many times, each time to no effect."""
    whole = _saved(Image.fromarray(np.full((height, width), 90, np.uint8)), "JPEG", progressive=True)
    first = whole.index(b"\xff\xda")
    end = whole.find(b"\xff", first + 2)
    while whole[end + 1] in (0, *range(0xD0, 0xD8)):
        end = whole.find(b"\xff", end + 2)
    blocks = -(-width // 8) * -(-height // 8)
    # The same DC scan, refined: one bit a block, all of them zero.
    empty = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x10" + bytes(-(-blocks // 8))
    return whole[:end] + empty * count + b"\xff\xd9"


def _side(rng: Random) -> int:
    return rng.choice((0, 1, 3, 100, 6324, 6325, 16383, 16384, 65535, 2**24, 2**31 - 1, 2**32 - 1))


def _chunk(rng: Random) -> bytes:
    match rng.randrange(3):
        case 0:
            return b"x\0\0" + zlib.compress(bytes(rng.choice((10, 2_000_000, 20_000_000))))
        case 1:
            return b"MM\0*" + noise(rng, 40)
    return noise(rng, rng.choice((0, 3, 300)))


def _app1(rng: Random) -> bytes:
    """EXIF that makes no sense: tags of any type and length, and directories that point at themselves."""
    order, mark = rng.choice(((">", b"MM\0*"), ("<", b"II*\0")))
    tags = b"".join(
        struct.pack(
            order + "HHI4s",
            rng.choice((0x0112, 0x8769, 0x8825, 0x0201, rng.getrandbits(16))),
            rng.choice((0, 1, 2, 3, 4, 5, 7, 12, 99)),
            rng.choice((0, 1, 2, 65535, 2**31)),
            struct.pack(order + "I", rng.choice((*EDGES[:-1], 8))),
        )
        for _ in range(rng.randint(0, 5))
    )
    body = (
        b"Exif\0\0"
        + mark
        + struct.pack(order + "IH", 8, rng.choice((1, 5, 65535)))
        + tags
        + struct.pack(order + "I", 8)
    )
    return b"\xff\xe1" + struct.pack(">H", (len(body) + 2 + number(rng) % 3) & 0xFFFF) + body


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
