"""The relay's encoders against aiortc's own: time, quality, and what a new bitrate costs.

    python -m benchmarks.calls.encoders [CLIP] [--frames 150] [--short]

Without a clip, a drawn scene moves. One thread encodes; milliseconds are those of this run, the ratios are what counts.
All encode the same frames at 25 per second, to 1.5 Mbit/s, the highest that aiortc's VP8 encoder goes to. The step is
from 1.5 Mbit/s to 500 kbit/s, the lowest that its H264 encoder goes to, and back.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from aiortc.codecs.base import Encoder as AiortcEncoder
from aiortc.codecs.h264 import H264Encoder, h264_depayload
from aiortc.codecs.vpx import Vp8Encoder, vp8_depayload

from hime_core.video.picture import Picture
from server.media.send.bitrate import Bitrates
from server.media.send.encoder import VideoEncoder, find_h264

FPS = 25
HIGH, LOW = 1_500_000, 500_000
SIZES = ((640, 360), (1280, 720))

Encode = Callable[[av.VideoFrame, int], bytes]  # frame, bit/s


@dataclass(frozen=True)
class Run:
    """wall, cpu: ms per frame; sizes: bits; psnr: dB of luma over all decoded frames."""

    wall: float
    cpu: float
    sizes: np.ndarray
    keyframes: list[int]
    psnr: float


def ours(name: str, width: int, height: int) -> Encode:
    encoder = VideoEncoder(name, width, height, Bitrates())

    def encode(frame: av.VideoFrame, bitrate: int) -> bytes:
        packet = encoder.encode(frame, bitrate)
        return bytes(packet) if packet else b""

    return encode


def theirs(encoder: AiortcEncoder, depayload: Callable[[bytes], bytes]) -> Encode:
    def encode(frame: av.VideoFrame, bitrate: int) -> bytes:
        encoder.target_bitrate = bitrate
        return b"".join(map(depayload, encoder.encode(frame)[0]))

    return encode


def scene(clip: str | None, width: int, height: int, count: int) -> list[Picture]:
    if clip is None:
        return [drawn(width, height, number) for number in range(count)]
    pictures: list[Picture] = []
    while len(pictures) < count:
        with av.open(clip) as container:
            for frame in container.decode(video=0):
                pictures.append(Picture.from_frame(frame.reformat(width=width, height=height, format="yuv420p")))
                if len(pictures) == count:
                    break
    return pictures


def drawn(width: int, height: int, number: int) -> Picture:
    """A textured background that drifts, a head that turns in front of it, and the noise of a camera."""
    random = np.random.default_rng(1)
    texture = cv2.resize(random.integers(60, 190, (height // 6, width // 6, 3), dtype=np.uint8), (width, height))
    rgb = np.roll(texture, number // 2, axis=1)
    centre = (width // 2 + round(width / 12 * np.sin(number / 9)), height // 2)
    cv2.ellipse(rgb, centre, (height // 6, height // 4), 4 * np.sin(number / 7), 0, 360, (205, 165, 140), -1)
    for side in (-1, 1):
        cv2.circle(rgb, (centre[0] + side * height // 16, centre[1] - height // 20), height // 60, (40, 30, 30), -1)
    noise = np.random.default_rng(number).normal(0, 3, rgb.shape)
    return Picture.from_rgb(np.clip(rgb + noise, 0, 255).astype(np.uint8))


def run(encode: Encode, decoder: str, pictures: Sequence[Picture], bitrate: Callable[[int], int]) -> Run:
    frames = []
    for number, picture in enumerate(pictures):
        frame = picture.to_frame()
        frame.pts, frame.time_base = 90000 // FPS * number, Fraction(1, 90000)
        frames.append(frame)
    wall, cpu = time.perf_counter(), time.process_time()
    encoded = [encode(frame, bitrate(number)) for number, frame in enumerate(frames)]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    context = av.CodecContext.create(decoder, "r")
    context.thread_count = 1
    errors, keyframes = [], []
    for number, data in enumerate(encoded):
        for frame in context.decode(av.Packet(data)):
            keyframes += [number] * frame.key_frame
            errors.append(np.mean((Picture.from_frame(frame).y.astype(np.float32) - pictures[number].y) ** 2))
    psnr = 10 * np.log10(255**2 / np.mean(errors))
    sizes = 8.0 * np.array([len(data) for data in encoded])
    return Run(1000 * wall / len(frames), 1000 * cpu / len(frames), sizes, keyframes, float(psnr))


def contestants(h264: str) -> list[tuple[str, str, Callable[[int, int], Encode]]]:
    """Name, decoder, and a function that makes the encoder for a size; ours before aiortc's of each codec."""
    return [
        ("VP8", "vp8", lambda width, height: ours("libvpx", width, height)),
        ("VP8 aiortc", "vp8", lambda width, height: theirs(Vp8Encoder(), vp8_depayload)),
        ("H264", "h264", lambda width, height: ours(h264, width, height)),
        ("H264 aiortc", "h264", lambda width, height: theirs(H264Encoder(), h264_depayload)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", nargs="?", help="a video of a person on camera")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--short", action="store_true", help="a third of the frames, and 360p only")
    args = parser.parse_args()
    count = max(25, args.frames // 3 if args.short else args.frames)
    h264 = find_h264()
    print(f"H264 by {h264}; libvpx, one thread; aiortc's encoders choose their own threads\n")
    for width, height in SIZES[: 1 if args.short else None]:
        pictures = scene(args.clip, width, height, count)
        print(f"{width}x{height}, {count} frames, {HIGH / 1e6} Mbit/s")
        print(f"{'':12} {'ms':>7} {'CPU ms':>7} {'kbit/s':>7} {'PSNR':>6}   aiortc's / ours: ms, CPU")
        last: Run | None = None
        for name, decoder, make in contestants(h264):
            one = run(make(width, height), decoder, pictures, lambda number: HIGH)
            ratio = f"   {one.wall / last.wall:.2f} {one.cpu / last.cpu:.2f}" if last and "aiortc" in name else ""
            rate = one.sizes.sum() * FPS / count / 1000
            print(f"{name:12} {one.wall:7.2f} {one.cpu:7.2f} {rate:7.0f} {one.psnr:6.2f}{ratio}")
            last = one
        print()
    steps(scene(args.clip, *SIZES[0], 150), h264)


def steps(pictures: Sequence[Picture], h264: str) -> None:
    """A path that narrows for two seconds."""
    narrow = range(50, 100)
    print(f"Two seconds at {LOW // 1000} kbit/s after two at {HIGH // 1000}, and two more at {HIGH // 1000}, 640x360")
    print(f"{'':12} {'keyframes':>9} {'bits of those':>13} {'kbit/s when narrow':>19} {'second half':>12}")
    for name, decoder, make in contestants(h264):
        one = run(make(*SIZES[0]), decoder, pictures, lambda number: LOW if number in narrow else HIGH)
        after = [number for number in one.keyframes if number]
        bits = sum(one.sizes[number] for number in after)
        both, half = (one.sizes[start:100].mean() * FPS / 1000 for start in (50, 75))
        print(f"{name:12} {len(after):9} {bits:13.0f} {both:19.0f} {half:12.0f}")


if __name__ == "__main__":
    main()
