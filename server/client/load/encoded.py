"""A clip that is encoded once, to be replayed by any number of publishers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from hime_core.errors import InputError
from hime_core.video.picture import Picture
from server.client.load.marker import stamped
from server.media.send.bitrate import Bitrates
from server.media.send.encoder import Codec, VideoEncoder

CLOCK_RATE = 90000
ENCODERS: dict[Codec, str] = {"VP8": "libvpx", "H264": "libx264"}
LONGEST = 30.0  # seconds of a clip that are used
SHORTEST = 4.0  # seconds that are encoded, of a shorter clip again and again: a number names one moment of late
MOST_FPS = 30.0
KEYFRAMES = 2.0  # seconds from one to the next; who asks for one gets the next at once
ROOM = 1_000_000  # bit/s that the encoder is opened for at least: x264 has no room for a keyframe else
WIDTH = 640  # of the longer side, where no size is given


@dataclass(frozen=True)
class EncodedClip:
    """Frames of one size, each of which shows its index. After the last comes the one at `loop`, a keyframe.

    keyframes: their indices, rising; the first is 0.
    """

    codec: Codec
    frames: tuple[bytes, ...]
    keyframes: tuple[int, ...]
    loop: int
    fps: float
    size: tuple[int, int]

    def after(self, index: int) -> int:
        """The index of the frame that follows."""
        return index + 1 if index + 1 < len(self.frames) else self.loop

    def keyframe_from(self, index: int) -> int:
        """The index of the first keyframe there or behind it."""
        return next((one for one in self.keyframes if one >= index), self.loop)

    def pts(self, number: int) -> int:
        """Of the number'th frame that is sent, 90 kHz."""
        return round(number * CLOCK_RATE / self.fps)


def encode(
    path: Path, codec: Codec, kbps: int, size: tuple[int, int] | None = None, loop_from: float = 0.0
) -> EncodedClip:
    """size: None for the clip's own shape, 640 pixels wide or high. loop_from: the second at which it begins again.

    Raises InputError where the file cannot be used.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no picture; a video file is needed")
            return _encoded(path, container, codec, kbps * 1000, size, loop_from)
    except (OSError, av.FFmpegError) as error:
        raise InputError(f"{path} cannot be read as a video ({type(error).__name__})") from None


def _encoded(
    path: Path, container: Any, codec: Codec, bitrate: int, size: tuple[int, int] | None, loop_from: float
) -> EncodedClip:
    stream = container.streams.video[0]
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    every = max(1, math.ceil(rate / MOST_FPS - 0.01))
    fps = rate / every
    width, height = size or _own_size(stream.width, stream.height)
    loop, seldom = round(loop_from * fps), max(1, round(KEYFRAMES * fps))
    encoder = VideoEncoder(ENCODERS[codec], width, height, Bitrates(start=bitrate, max=max(bitrate, ROOM)))
    frames: list[bytes] = []
    keyframes: list[int] = []
    pictures = _pictures(container, stream, every, round(LONGEST * fps), (width, height))
    while True:
        before = len(frames)
        for picture in pictures:
            index = len(frames)
            keyframe = index == 0 or (index - loop) % seldom == 0
            frame = stamped(picture, index).to_frame()
            frame.pts, frame.time_base = round(index * CLOCK_RATE / fps), Fraction(1, CLOCK_RATE)
            packet = encoder.encode(frame, bitrate, keyframe)
            if packet is not None:
                frames.append(bytes(packet))
                keyframes += [index] if keyframe else []
        if not frames:
            raise InputError(f"{path} has no picture; a video file is needed")
        if loop >= len(frames):
            seconds = len(frames) / fps
            raise InputError(f"--loop-from {loop_from:g}: {path} gives {seconds:.1f} s; give a second before its end")
        if len(frames) >= SHORTEST * fps or len(frames) == before:
            return EncodedClip(codec, tuple(frames), tuple(keyframes), loop, fps, (width, height))
        container.seek(0)
        pictures = _pictures(container, stream, every, round(LONGEST * fps), (width, height), loop)


def _pictures(
    container: Any, stream: Any, every: int, most: int, size: tuple[int, int], first: int = 0
) -> Iterator[Picture]:
    """first: the number of the first that is given; most: where it ends."""
    for number, frame in enumerate(container.decode(stream)):
        index = number // every
        if index >= most:
            return
        if number % every == 0 and index >= first:
            yield Picture.from_frame(frame.reformat(*size, format="yuv420p"))


def _own_size(width: int, height: int) -> tuple[int, int]:
    scale = WIDTH / max(width, height)
    return max(16, 2 * round(width * scale / 2)), max(16, 2 * round(height * scale / 2))
