"""What the fake camera and microphone give: a portrait that is close at first, then far, and a voice-like sound."""

from __future__ import annotations

import wave
from pathlib import Path

import cv2
import numpy as np
from skimage import data

WIDTH, HEIGHT, FPS = 640, 360, 20
# Headshot sides in the frame, px; in skimage's astronaut the headshot (1.69 face box heights) is about 200 px.
SOURCE_SIDE = 200
CLOSE_SIDE, FAR_SIDE = 176, 30
FACE = (222.0, 125.0)  # its centre in the source
# seconds: close, walking away, far, coming back; then all over again
CLOSE_S, AWAY_S, FAR_S, BACK_S = 6.0, 3.0, 12.0, 2.0


def write_camera(path: Path) -> Path:
    """A YUV4MPEG2 file, which Chromium's fake camera plays in a loop at the rate in its header."""
    portrait = np.dstack([data.astronaut(), _feathered(512)]).astype(np.float32)
    wall = _wall()
    random = np.random.default_rng(7)
    grain = random.normal(0, 2.0, (HEIGHT + 64, WIDTH + 64)).astype(np.float32)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C420mpeg2\n".encode())
        for index in range(round((CLOSE_S + AWAY_S + FAR_S + BACK_S) * FPS)):
            rgb = _frame(portrait, wall, index / FPS)
            dy, dx = random.integers(0, 64, 2)
            rgb += grain[dy : dy + HEIGHT, dx : dx + WIDTH, None]
            yuv = cv2.cvtColor(np.clip(rgb, 0, 255).astype(np.uint8), cv2.COLOR_RGB2YUV_I420)
            file.write(b"FRAME\n" + yuv.tobytes())
    return path


def write_sound(path: Path, seconds: float = 8.0, rate: int = 48000) -> Path:
    """Four syllables a second of a gliding tone: loud enough for any noise suppression to let through."""
    t = np.arange(round(seconds * rate)) / rate
    pitch = 180 + 60 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(n * phase) / n for n in range(1, 8)) * np.sin(np.pi * 4 * t) ** 2
    samples = (0.35 * 32767 * voice / np.abs(voice).max()).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def side_at(t: float) -> float:
    """The headshot's side in px, t seconds into the loop."""
    if t < CLOSE_S:
        return CLOSE_SIDE
    t -= CLOSE_S
    if t < AWAY_S:
        return _glide(CLOSE_SIDE, FAR_SIDE, t / AWAY_S)
    t -= AWAY_S
    if t < FAR_S:
        return FAR_SIDE
    return _glide(FAR_SIDE, CLOSE_SIDE, (t - FAR_S) / BACK_S)


def _glide(start: float, end: float, part: float) -> float:
    """Constant speed in depth: sizes change by equal factors, softly at both ends."""
    part = part * part * (3 - 2 * part)
    return start * (end / start) ** part


def _frame(portrait: np.ndarray, wall: np.ndarray, t: float) -> np.ndarray:
    scale = side_at(t) / SOURCE_SIDE
    sway = scale * 6 * np.sin(2 * np.pi * 0.4 * t), scale * 3 * np.sin(2 * np.pi * 0.55 * t)
    angle = np.radians(1.5 * np.sin(2 * np.pi * 0.3 * t))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([WIDTH / 2 + sway[0], HEIGHT * 0.42 + sway[1]])
    move = np.column_stack([turn, centre - turn @ np.array(FACE)])
    # a lens blurs before the sensor samples
    source = cv2.GaussianBlur(portrait, (0, 0), 0.42 / scale) if scale < 0.8 else portrait
    layer = cv2.warpAffine(source, move, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    alpha = layer[..., 3:]
    return layer[..., :3] * alpha + wall * (1 - alpha)


def _feathered(size: int, border: int = 60) -> np.ndarray:
    ramp = np.clip(np.minimum(np.arange(size), np.arange(size)[::-1]) / border, 0, 1)
    return np.outer(ramp, ramp) ** 0.7


def _wall() -> np.ndarray:
    """A room without anything like a face in it."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    light = 150 - 0.12 * y - 0.00018 * (x - 200) ** 2
    wall = np.dstack([light * 0.98, light, light * 1.04])
    wall[250:] *= 0.72  # the floor
    wall[60:170, 470:600] = (118, 132, 140)  # a picture frame
    wall[70:160, 480:590] = (172, 178, 170)
    return cv2.GaussianBlur(wall.astype(np.float32), (0, 0), 1.2)
