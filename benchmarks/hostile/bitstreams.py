"""VP8 and H264 frames that are cut, flipped, mixed up and of sizes that change."""

from __future__ import annotations

import functools
from fractions import Fraction
from random import Random
from typing import Literal

import av
import numpy as np

from benchmarks.hostile.chance import damaged, noise

Codec = Literal["VP8", "H264"]
SIZES = ((160, 120), (161, 121), (320, 2), (2, 320), (16, 16), (1920, 1080), (64, 48), (18, 34))
"""Of a call that changes its size; odd ones go to VP8 only, which alone has them in yuv420p."""
LARGEST = 2048  # pixels of a side that damage may lie about: what is larger is for limits to refuse
_FRAMES = 4
_H264 = ({}, {"profile": "main", "bf": "2"}, {"flags": "+ildct", "x264-params": "interlaced=1"}, {"slices": "4"})


@functools.cache
def stream(codec: Codec, width: int, height: int, kind: int = 0) -> tuple[bytes, ...]:
    """A keyframe and frames after it."""
    if codec == "H264":
        width, height = max(2, width & ~1), max(2, height & ~1)
    encoder = av.CodecContext.create("libvpx" if codec == "VP8" else "libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 30), Fraction(30)
    encoder.bit_rate, encoder.gop_size = 300_000, 1000
    encoder.options = (
        {"deadline": "realtime", "cpu-used": "8"} if codec == "VP8" else {"preset": "ultrafast", "tune": "zerolatency"}
    ) | (_H264[kind] if codec == "H264" else {})
    packets = []
    for number in range(_FRAMES):
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[:, : width // 2] = 40 * number
        rgb[height // 3 :, width // 3 :] = (200, 20 * number, 90)
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return tuple(bytes(packet) for packet in packets)


def frames(rng: Random, codec: Codec) -> list[bytes]:
    """A few frames of a stream, of which some are damaged, left out, doubled or of another stream."""
    small = [size for size in SIZES if max(size) <= 320]
    kind = rng.randrange(len(_H264))
    sent = list(stream(codec, *(rng.choice(small) if kind == 0 else (160, 128)), kind=kind))
    for at in range(len(sent)):
        match rng.randrange(8):
            case 0:
                sent[at] = rng.choice(stream(codec, *rng.choice(small)))
            case 1:
                sent[at] = noise(rng, rng.choice((1, 3, 10, 200)))
            case 2:
                sent[at] = rng.choice(sent)
            case 3:
                sent[at] = sent[at] + sent[at]
            case 4 | 5 | 6:
                sent[at] = damaged(rng, sent[at])
    return [frame for frame in sent if frame and not too_large(codec, frame)]


def too_large(codec: Codec, frame: bytes) -> bool:
    """Whether a VP8 keyframe says that it is larger than `LARGEST`."""
    if codec != "VP8" or len(frame) < 10 or frame[0] & 1:
        return False
    sides = (int.from_bytes(frame[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return max(sides) > LARGEST
