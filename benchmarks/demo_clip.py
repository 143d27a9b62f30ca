"""The clip that `hime demo` publishes, drawn from scikit-image's astronaut: close for a while, far away, and back.

    python -m benchmarks.demo_clip server/demo/walk.mp4

The portrait of Eileen Collins is NASA's, and in the public domain. Cut out of its background by GrabCut, she sits
behind a table that is drawn; the clip's last frame goes over into its first.
"""

from __future__ import annotations

import argparse
import math
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from skimage import data

WIDTH, HEIGHT, FPS = 320, 180, 25
OVER = 4  # times the clip's size that the scene is drawn at
CLOSE, AWAY, FAR, BACK = 5.0, 2.0, 7.0, 2.0  # seconds of each part
LENGTH = CLOSE + AWAY + FAR + BACK
HEADSHOT = (224.5, 122.0, 200.0)  # in the portrait: its centre and its side
CLOSE_SIDE, FAR_SIDE = 128.0, 31.0  # of the headshot in the clip, pixels
CLOSE_Y, FAR_Y = 74.0, 82.0  # of its centre
TABLE_Y = 138.0
NOISE = 1.2  # of the camera, grey levels
QUALITY = {"crf": "17", "preset": "veryslow", "g": "75"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    path: Path = parser.parse_args().out
    portrait, opacity = cut_out()
    noise = np.random.default_rng(7)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        video = out.add_stream("libx264", rate=FPS, options=QUALITY)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(round(LENGTH * FPS)):
            scene = drawn(portrait, opacity, number / FPS)
            rgb = cv2.resize(scene, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            rgb = np.clip(rgb + noise.normal(0, NOISE, rgb.shape), 0, 255).round().astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(video.encode(frame))
        out.mux(video.encode())
    print(f"{path}: {LENGTH:.0f} s, {path.stat().st_size / 1000:.0f} kB")


def cut_out() -> tuple[np.ndarray, np.ndarray]:
    """The portrait, RGB (512, 512, 3), and how much of each pixel is the person's, float (512, 512, 1) from 0 to 1."""
    rgb = data.astronaut()
    mask = np.full(rgb.shape[:2], cv2.GC_PR_BGD, np.uint8)
    cv2.ellipse(mask, (224, 110), (75, 95), 0, 0, 360, cv2.GC_PR_FGD, -1)
    cv2.rectangle(mask, (30, 260), (440, 511), cv2.GC_PR_FGD, -1)
    for centre, axes in (((224, 120), (48, 62)), ((210, 226), (88, 52))):  # the face, what the collar encloses
        cv2.ellipse(mask, centre, axes, 0, 0, 360, cv2.GC_FGD, -1)
    cv2.rectangle(mask, (120, 280), (330, 511), cv2.GC_FGD, -1)
    for rows, columns in (
        (slice(14), slice(None)),
        (slice(200), slice(100)),
        (slice(None), slice(24)),
        (slice(340), slice(362, None)),
    ):
        mask[rows, columns] = cv2.GC_BGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(rgb[..., ::-1].copy(), mask, None, *models, 8, cv2.GC_INIT_WITH_MASK)
    person = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(person)
    largest = (labels == 1 + np.argmax(statistics[1:, cv2.CC_STAT_AREA])).astype(np.uint8)
    inner = cv2.erode(largest, np.ones((3, 3), np.uint8))  # its rim is lit by the background
    return rgb, cv2.GaussianBlur(inner.astype(np.float32), (0, 0), 1.2)[..., None]


def walked(seconds: float) -> float:
    """How far away: 0 close to the camera, 1 far."""
    if seconds < CLOSE + AWAY + FAR:
        share = min(1.0, max(0.0, (seconds - CLOSE) / AWAY))
    else:
        share = 1.0 - min(1.0, (seconds - CLOSE - AWAY - FAR) / BACK)
    return share * share * (3 - 2 * share)


def headshot(seconds: float) -> tuple[float, float, float]:
    """Where it is in the clip, pixels: its centre and its side."""
    away, turn = walked(seconds), 2 * math.pi * seconds / LENGTH
    side = CLOSE_SIDE * (FAR_SIDE / CLOSE_SIDE) ** away
    x = WIDTH / 2 + 6 * math.sin(3 * turn) * (0.4 + side / CLOSE_SIDE)
    return x, CLOSE_Y + (FAR_Y - CLOSE_Y) * away + 1.2 * math.sin(5 * turn), side


def drawn(portrait: np.ndarray, opacity: np.ndarray, seconds: float) -> np.ndarray:
    """The scene at a time of the clip: RGB uint8 (720, 1280, 3)."""
    x, y, side = headshot(seconds)
    zoom = side * OVER / HEADSHOT[2]
    pose = cv2.getRotationMatrix2D(HEADSHOT[:2], 3.5 * math.sin(8 * math.pi * seconds / LENGTH), zoom)
    pose[:, 2] += (x * OVER - HEADSHOT[0], y * OVER - HEADSHOT[1])
    size = (WIDTH * OVER, HEIGHT * OVER)
    layers = np.concatenate([portrait.astype(np.float32) * opacity, opacity], axis=2)
    if zoom < 1:  # without this, shrinking would alias
        layers = cv2.GaussianBlur(layers, (0, 0), 0.4 / zoom)
    layers = cv2.warpAffine(layers, pose, size, flags=cv2.INTER_LINEAR)
    scene = room()
    scene = layers[..., :3] + scene * (1 - layers[..., 3:])
    table = int(TABLE_Y * OVER)
    scene[table:] = np.linspace((92, 70, 54), (140, 110, 86), scene.shape[0] - table)[:, None]
    scene[table : table + OVER] = (168, 136, 108)
    return np.clip(scene, 0, 255).astype(np.uint8)


def room() -> np.ndarray:
    """A wall with a window: float RGB (720, 1280, 3)."""
    height, width = HEIGHT * OVER, WIDTH * OVER
    wall = np.linspace((104, 118, 132), (70, 82, 96), height)[:, None]
    scene = np.repeat(wall, width, axis=1).astype(np.float32)
    left, top, right, bottom = (round(share * OVER) for share in (226, 22, 296, 104))
    cv2.rectangle(scene, (left, top), (right, bottom), (150, 178, 204), -1)
    cv2.rectangle(scene, (left, top), (right, bottom), (48, 54, 62), 2 * OVER)
    cv2.line(scene, ((left + right) // 2, top), ((left + right) // 2, bottom), (48, 54, 62), OVER)
    return scene


if __name__ == "__main__":
    main()
