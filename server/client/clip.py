"""A video file as a camera and a microphone."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from hime_core.errors import InputError

AHEAD = 32  # frames of each kind that are decoded before their time
RATES = {"audio": 48_000, "video": 90_000}
SAMPLES = 960  # 20 ms of sound
LATE = 0.5  # seconds that a frame may be late which is lent


class Clip:
    """Decodes a file in a thread of its own. `tracks`: video, and audio where the file has it; they begin together at
    the first read of one. Raises InputError where the file has no picture."""

    def __init__(self, path: Path, loop: bool = False) -> None:
        """loop: begins again when it has ended."""
        try:
            self._container = av.open(str(path))
        except (OSError, av.FFmpegError) as error:
            raise InputError(f"{path} cannot be read as a video ({type(error).__name__})") from None
        if not self._container.streams.video:
            raise InputError(f"{path} has no picture; a video file is needed")
        self._loop = loop
        self._closing = threading.Event()
        self._began: float | None = None
        streams = [self._container.streams.video[0], *self._container.streams.audio[:1]]
        self._streams: list[Any] = streams
        self.tracks = [ClipTrack(cast(Literal["audio", "video"], stream.type), self) for stream in streams]
        self._thread = threading.Thread(target=self._decode, name="clip", daemon=True)
        self._thread.start()

    def due(self, seconds: float) -> float:
        """How long to wait until that time of the clip."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        return self._began + seconds - now

    def close(self) -> None:
        """Ends the tracks. Blocks for less than a second."""
        self._closing.set()
        for track in self.tracks:
            track.stop()
        self._thread.join(timeout=1)

    def _decode(self) -> None:
        tracks = {track.kind: track for track in self.tracks}
        resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATES["audio"], frame_size=SAMPLES)
        begin, end, samples = 0.0, 0.0, 0
        try:
            while not self._closing.is_set():
                for frame in self._container.decode(*self._streams):
                    if isinstance(frame, av.AudioFrame):
                        for part in resampler.resample(frame):
                            part.pts, part.time_base = samples, Fraction(1, RATES["audio"])
                            samples += part.samples
                            self._put(tracks["audio"], part)
                    elif isinstance(frame, av.VideoFrame) and frame.time is not None:
                        end = max(end, begin + frame.time)
                        frame.pts = round((begin + frame.time) * RATES["video"])
                        frame.time_base = Fraction(1, RATES["video"])
                        self._put(tracks["video"], frame)
                if not self._loop:
                    break
                rate = self._streams[0].average_rate
                begin = end + (float(1 / rate) if rate else 0.04)
                samples = max(samples, round(begin * RATES["audio"]))
                self._container.seek(0)
        except av.FFmpegError:
            pass  # a file that ends in the middle of a frame: what came until there was sent
        finally:
            for track in self.tracks:
                self._put(track, None)
            self._container.close()

    def _put(self, track: ClipTrack, frame: av.AudioFrame | av.VideoFrame | None) -> None:
        while not self._closing.is_set():
            try:
                return track.frames.put(frame, timeout=0.1)
            except queue.Full:
                # Nobody reads this one, be it that the relay did not take it: the other is not to stand still for it.
                if any(other.frames.empty() for other in self.tracks if other is not track):
                    return None


class ClipTrack(MediaStreamTrack):
    """One kind of a clip's media, each frame at its time."""

    def __init__(self, kind: Literal["audio", "video"], clip: Clip) -> None:
        self.kind = kind
        super().__init__()
        self.sent = 0
        self.frames: queue.Queue[av.AudioFrame | av.VideoFrame | None] = queue.Queue(AHEAD)
        self._clip = clip

    async def recv(self) -> Any:
        """Raises MediaStreamError when the clip has ended."""
        return await self.in_time(math.inf)

    async def in_time(self, late: float) -> Any:
        """The next frame that is no more than so many seconds late. Raises MediaStreamError when the clip has ended."""
        while True:
            frame = await self._next()
            if frame is None or frame.time is None:
                self.stop()
                raise MediaStreamError
            due = self._clip.due(frame.time)
            if due >= -late:
                await asyncio.sleep(max(0.0, due))
                self.sent += 1
                return frame

    async def _next(self) -> av.AudioFrame | av.VideoFrame | None:
        while self.readyState == "live":
            try:
                return self.frames.get_nowait()
            except queue.Empty:
                await asyncio.sleep(0.005)
        return None


class LentTrack(MediaStreamTrack):
    """A track's media for one connection, which ends what it was given when it ends itself: the track goes on."""

    def __init__(self, track: ClipTrack) -> None:
        self.kind = track.kind
        super().__init__()
        self._track = track

    async def recv(self) -> Any:
        """What came due while there was no connection is left out. Raises MediaStreamError when the track has ended."""
        return await self._track.in_time(LATE)
