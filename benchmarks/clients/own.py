"""`hime join`, as a user runs it: the relay's own client on aiortc. Its recorder encodes what it got a second time."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np

from benchmarks.clients.check import FPS, HEIGHT, WIDTH, Seen
from benchmarks.shared.peers import number_of, numbered_frame

WATCHED = 6.0  # seconds
CLIP = 8  # seconds


class HimeJoin:
    name = "hime-join"
    publishes = ("VP8",)  # as aiortc prefers it, as the other
    watches = ("VP8",)

    def missing(self) -> str:
        return ""

    def version(self) -> str:
        return version("hime-relay")

    async def publish(self, url: str, codec: str, over: asyncio.Event) -> None:
        where = urlsplit(url)
        _, room, name = where.path.strip("/").split("/")
        with tempfile.TemporaryDirectory() as folder:
            clip = await asyncio.to_thread(write_clip, Path(folder))
            options = ["--room", room, "--name", name, "--publish", str(clip), "--loop"]
            process = await _joined(f"http://{where.netloc}", *options)
            await over.wait()
            process.terminate()
            await _told(process)

    async def watch(self, url: str, codec: str, seen: Seen, over: asyncio.Event) -> None:
        where = urlsplit(url)
        _, room, whom = where.path.strip("/").split("/")
        with tempfile.TemporaryDirectory() as folder:
            record = Path(folder) / "seen.mp4"
            options = ["--room", room, "--name", "watcher", "--watch", whom, "--record", str(record)]
            options += ["--seconds", str(WATCHED)]
            options += [f"--{key}={value}" for key, (value,) in parse_qs(where.query).items()]
            told = await _told(await _joined(f"http://{where.netloc}", *options))
            if told["recorded"] is not None:
                seen.numbers, seen.sound = await asyncio.to_thread(read_clip, record)
        await over.wait()


async def _joined(base: str, *options: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "server.cli", "join", base, *options, "--json"]
    return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)


async def _told(process: asyncio.subprocess.Process) -> dict[str, object]:
    out, complaints = await process.communicate()
    if process.returncode:
        raise RuntimeError(complaints.decode().strip().splitlines()[-1])
    told: dict[str, object] = json.loads(out)
    return told


def write_clip(folder: Path) -> Path:
    path = folder / "clip.mp4"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=FPS, options={"crf": "12", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream("aac", rate=48000, layout="mono")
        for number in range(CLIP * FPS):
            frame = numbered_frame(number, WIDTH, HEIGHT)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        for at in range(0, CLIP * 48000, 1024):
            wave = 8000 * np.sin(2 * np.pi * 440 * np.arange(at, at + 1024) / 48000)
            sound = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None, :], "s16", "mono")
            sound.sample_rate, sound.pts = 48000, at
            out.mux(audio.encode(sound))
        out.mux(audio.encode())
    return path


def read_clip(path: Path) -> tuple[list[int], int]:
    with av.open(str(path)) as recorded:
        numbers = [number_of(frame) for frame in recorded.decode(video=0)]
    with av.open(str(path)) as recorded:
        return numbers, sum(1 for _ in recorded.decode(audio=0))
