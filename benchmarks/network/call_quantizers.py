"""Which constant quantizers leave a face as far from its source as a call's rate control does.

    python -m benchmarks.network.call_quantizers CLIPS [--short] [--headshots 96,160,240]

Clips of people at some distance are reduced to the area of 320x180 and 640x360 and encoded at 60 to 600 kbit/s; the
luma PSNR of the face in the settled second half is compared with what constant quantizers give. The range seen is what
`hime_core.training.call.QUANTIZERS` draws from. With --headshots the clips are brought to where the headshot has as
many pixels, in 640x360 or 320x180 as in benchmarks/network/damaged_faces.py, at 20 to 300 kbit/s: NEAR_QUANTIZERS.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.network.call_checkpoints import Camera
from benchmarks.network.damaged_faces import LARGE, SMALL
from hime_core.data.codec import CODECS, Codec, transmit
from hime_core.faces.detector import MtcnnDetector
from hime_core.faces.geometry import Headshot, headshot_of
from hime_core.video.picture import Picture

AREAS = (320 * 180, 640 * 360)
RATES = (60_000, 100_000, 200_000, 400_000, 600_000)
NEAR_RATES = (20_000, 30_000, 60_000, 120_000, 300_000)
STEPS = {"vp8": (2, 10, 20, 30, 40, 50, 60, 63), "h264": (10, 16, 22, 28, 34, 40, 46, 51)}
FRAMES = 90
LARGEST = 0.45  # headshot's side over the shorter side of the frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--short", action="store_true", help="one clip")
    parser.add_argument("--headshots", default="", help="sides of near faces, pixels")
    arguments = parser.parse_args()
    near = [int(side) for side in arguments.headshots.split(",") if side]
    detector, seen = MtcnnDetector(), defaultdict(list)
    for path in sorted(p for p in arguments.clips.iterdir() if p.suffix in (".mp4", ".mkv", ".mov")):
        frames = read(path)
        headshot = find(frames[len(frames) // 2], detector, 10 if near else LARGEST) if frames else None
        if headshot is None:
            continue
        rates = NEAR_RATES if near else RATES
        for size in near or AREAS:
            sent = brought(frames, headshot, size) if near else reduced(frames, headshot, size)
            for codec in CODECS:
                found = equivalents(*sent, codec, rates)
                seen[codec] += found
                text = " ".join(f"{rate // 1000}k:{q:.0f}" for rate, q in zip(rates, found, strict=True))
                print(f"{path.stem:20} {size} px {codec:5} {text}", flush=True)
        if arguments.short:
            break
    for codec, values in seen.items():
        print(f"{codec}: {min(values):.0f} to {max(values):.0f}, median {np.median(values):.0f}")


def read(path: Path) -> list[np.ndarray]:
    frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == FRAMES:
                break
    return frames


def find(rgb: np.ndarray, detector: MtcnnDetector, largest: float) -> Headshot | None:
    """The headshot that is surest, where it leaves room around it as in a call."""
    faces = detector.detect(rgb)
    headshot = headshot_of(faces[0].box) if faces else None
    return headshot if headshot and headshot.side < largest * min(rgb.shape[:2]) else None


def reduced(frames: list[np.ndarray], headshot: Headshot, area: int) -> tuple[list[np.ndarray], slice, slice]:
    """The clip at an area in pixels, and where the headshot lies in it."""
    height, width = frames[0].shape[:2]
    scale = (area / (height * width)) ** 0.5
    size = (int(width * scale) & ~1, int(height * scale) & ~1)
    small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
    half = headshot.side / 2
    rows, columns = (
        slice(max(0, int((centre - half) * scale)), int((centre + half) * scale))
        for centre in (headshot.cy, headshot.cx)
    )
    return small, rows, columns


def brought(frames: list[np.ndarray], headshot: Headshot, side: int) -> tuple[list[np.ndarray], slice, slice]:
    """The clip laid into a call's frame where its headshot has `side` pixels, and where it lies there."""
    camera = Camera(headshot, side, frames[0].shape, SMALL if side <= 96 else LARGE)
    x, y = (max(0, v) for v in camera.corner(headshot))
    return [camera.frame(frame) for frame in frames], slice(y, y + side), slice(x, x + side)


def equivalents(
    small: list[np.ndarray], rows: slice, columns: slice, codec: Codec, rates: tuple[int, ...]
) -> list[float]:
    """For each rate the quantizer that gives the face the same PSNR."""
    lumas = [Picture.from_rgb(frame).y for frame in small]

    def quality(received: list[np.ndarray]) -> float:
        errors = [
            np.square(received[i][rows, columns].astype(float) - lumas[i][rows, columns]).mean()
            for i in range(len(lumas) // 2, len(lumas), 4)
        ]
        return float(np.mean(10 * np.log10(255**2 / np.maximum(errors, 1e-3))))

    constant = [quality([Picture.from_rgb(f).y for f in transmit(small, codec, q)]) for q in STEPS[codec]]
    return [float(np.interp(-quality(send(small, codec, rate)), -np.array(constant), STEPS[codec])) for rate in rates]


def send(frames: list[np.ndarray], codec: Codec, rate: int) -> list[np.ndarray]:
    """Luma of the frames as they arrive at a bit rate, with the encoders' settings of aiortc."""
    context = av.CodecContext.create({"vp8": "libvpx", "h264": "libx264"}[codec], "w")
    context.height, context.width = frames[0].shape[:2]
    context.pix_fmt, context.bit_rate, context.gop_size, context.thread_count = "yuv420p", rate, 3000, 1
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    options = {"maxrate": rate, "bufsize": rate}
    if codec == "vp8":
        context.qmin, context.qmax = 2, 56
        options |= {"minrate": rate, "deadline": "realtime", "cpu-used": -6, "lag-in-frames": 0, "static-thresh": 1}
    else:
        options |= {"preset": "veryfast", "tune": "zerolatency", "profile": "baseline"}
    context.options = {name: str(value) for name, value in options.items()}
    decoder, received = av.CodecContext.create(codec, "r"), []
    for number, rgb in enumerate(frames):
        frame = Picture.from_rgb(rgb).to_frame()
        frame.pts, frame.time_base = number, Fraction(1, 25)
        for packet in context.encode(frame):
            received += decoder.decode(packet)
    for packet in context.encode(None):
        received += decoder.decode(packet)
    received += decoder.decode(None)
    return [luma_of(frame) for frame in received]


def luma_of(frame: av.VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]


if __name__ == "__main__":
    main()
