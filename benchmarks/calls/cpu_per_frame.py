"""Processor time per frame of the whole relay, without enhancement, against FFmpeg doing the same to the same stream.

    python -m benchmarks.calls.cpu_per_frame [--rounds 2] [--seconds 5] [--codecs VP8,H264] [--json OUT]

In: 360p VP8 at 25 frames a second and 1 Mbit/s. Out: the same size (`native`), or enlarged by bicubic to 1280x720
(`upscale`), encoded at 1.5 Mbit/s with the relay's settings and one thread each for decoder, scaler and encoder. The
relay is the real one, with an engine and a detector that do nothing; its publisher and watcher are processes of their
own. FFmpeg takes plain RTP by UDP and sends plain RTP; of the relay's share, SRTP, ICE, RTCP, packet loss repair and
the waiting for the newest frame come on top. User and system time of all threads, divided by the frames that came out.
The relay's threads are listed by what they do; its stages, by its own clock, include time spent waiting for a core.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from aiortc.codecs.vpx import Vp8Encoder

from benchmarks.shared import relays
from benchmarks.shared.light import LightProcess
from benchmarks.shared.relays import Running, counters, cpu_seconds, difference
from benchmarks.shared.replay import CLOCK_RATE, Clip, portrait
from hime_core.compositing.layout import upscaled
from server.media.send.encoder import NEVER

BITRATE = 1_500_000
AT_MOST = 1.6  # times FFmpeg's
SETTLE = 2.5  # seconds
LAYOUTS = ("native", "upscale")
THREADS = {
    "video-decode": "decode",
    "video-front": "convert, track",
    "video-finish": "scale",
    "video-encode": "encode",
}


@dataclass(frozen=True)
class Case:
    codec: str
    layout: str


@dataclass(frozen=True)
class Cost:
    """CPU ms per frame. parts: by thread; stages: by the relay's own clock. frames: that came out."""

    ms: float
    frames: int
    kbit_s: float
    parts: dict[str, float]
    stages: dict[str, float]


def of_relay(
    case: Case, relay: Running, threads: Any, lights: tuple[LightProcess, LightProcess], seconds: float
) -> Cost:
    publisher, watcher = lights
    publisher.call("publish", "p", relay.url, "/whip/bench/ann", "clip")
    watcher.call("watch", "w", relay.url, f"/whep/bench/ann?view=original&layout={case.layout}", codec=case.codec)
    time.sleep(SETTLE)

    def now() -> tuple[float, float, Counter[str], dict[tuple[int, str], float]]:
        threads.send(True)
        return time.monotonic(), cpu_seconds(relay.pid), counters(relay.url), threads.recv()

    start = now()
    time.sleep(seconds)
    end = now()
    watched = watcher.call("watched", "w")
    watcher.call("leave", "w")
    publisher.call("leave", "p")
    frames = sum(start[0] <= at < end[0] for at in watched.frames().values())
    parts: Counter[str] = Counter()
    for key, used in end[3].items():
        name = key[1] if key[1] == "event loop" else THREADS.get(key[1], "other threads")
        parts[name] += used - start[3].get(key, 0.0)
    gained = difference(end[2], start[2])
    sums = {name.split()[1]: value for name, value in gained.items() if name.startswith("stage_duration_seconds_sum ")}
    per_frame = 1000 / max(frames, 1)
    return Cost(
        ms=per_frame * (end[1] - start[1]),
        frames=frames,
        kbit_s=8 * watched.size(start[0], end[0]) / (end[0] - start[0]) / 1000,
        parts={name: per_frame * value for name, value in parts.items()},
        stages={name: per_frame * value for name, value in sums.items() if value},
    )


class RtpSender(threading.Thread):
    """Replays a clip as plain RTP (RFC 3550) to a port of this machine until stop() is called."""

    def __init__(self, clip: Clip, port: int) -> None:
        super().__init__(name="rtp-sender", daemon=True)
        self._clip, self._to = clip, ("127.0.0.1", port)
        self._over = threading.Event()

    def run(self) -> None:
        packer, ssrc, number, sequence = Vp8Encoder(), random.getrandbits(32), 0, 0
        start = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not self._over.wait(max(0.0, start + number / self._clip.fps - time.monotonic())):
                packet = av.Packet(self._clip.frames[self._clip.index(number)])
                payloads = packer._packetize(bytes(packet), number % 2**15)
                for payload in payloads:
                    marker = 0x80 if payload is payloads[-1] else 0
                    header = struct.pack("!BBHII", 0x80, marker | 96, sequence % 2**16, self._clip.pts(number), ssrc)
                    out.sendto(header + payload, self._to)
                    sequence += 1
                number += 1

    def stop(self) -> None:
        self._over.set()
        self.join()


class RtpCounter(threading.Thread):
    """Counts the frames of plain RTP, by their markers, and the bytes of their payloads."""

    def __init__(self, port: int) -> None:
        super().__init__(name="rtp-counter", daemon=True)
        self.frames = self.bytes = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        self._socket.settimeout(0.2)
        self._over = False

    def run(self) -> None:
        while not self._over:
            try:
                packet = self._socket.recv(2048)
            except TimeoutError:
                continue
            self.frames += packet[1] >> 7
            self.bytes += len(packet) - 12

    def stop(self) -> None:
        self._over = True
        self.join()
        self._socket.close()


def of_ffmpeg(case: Case, clip: Clip, seconds: float) -> Cost:
    source, target = even_port(), even_port()
    sender, counter = RtpSender(clip, source), RtpCounter(target)
    with ffmpeg(command(case, clip, target), source) as process:
        counter.start()
        sender.start()
        try:
            end = time.monotonic() + 30
            while not counter.frames and process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
            if not counter.frames:
                raise RuntimeError("FFmpeg sent nothing within 30 s")
            time.sleep(SETTLE)
            start = time.monotonic(), cpu_seconds(process.pid), counter.frames, counter.bytes
            time.sleep(seconds)
            stop = time.monotonic(), cpu_seconds(process.pid), counter.frames, counter.bytes
        finally:
            sender.stop()
            counter.stop()
    took, used, frames, size = (after - before for after, before in zip(stop, start, strict=True))
    return Cost(1000 * used / max(frames, 1), frames, 8 * size / took / 1000, {}, {})


def command(case: Case, clip: Clip, port: int) -> list[str]:
    """FFmpeg's options between input and output: the relay's own encoder settings."""
    width, height = clip.size
    if case.layout == "upscale":
        shown = upscaled(*clip.size)
        width, height = shown.width, shown.height
    scale = ["-vf", f"scale={width}:{height}:flags=bicubic"] if (width, height) != clip.size else []
    rates = ["-b:v", str(BITRATE), "-maxrate", str(BITRATE), "-g", str(NEVER), "-threads", "1"]
    if case.codec == "VP8":
        codec = ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "-8", "-lag-in-frames", "0"]
        codec += ["-undershoot-pct", "100", "-overshoot-pct", "15", "-static-thresh", "1", "-qmin", "2", "-qmax", "56"]
        codec += ["-minrate", str(BITRATE), "-bufsize", str(BITRATE // 8)]
    else:
        codec = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline"]
        codec += ["-bf", "0", "-bufsize", str(BITRATE // 16)]
    out = ["-fps_mode", "passthrough", "-f", "rtp", f"rtp://127.0.0.1:{port}?pkt_size=1200"]
    return ["-an", "-filter_threads", "1", *scale, *codec, *rates, *out]


@contextmanager
def ffmpeg(options: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        session = Path(folder) / "in.sdp"
        lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
        lines += [f"m=video {port} RTP/AVP 96", f"a=rtpmap:96 VP8/{CLOCK_RATE}"]
        session.write_text("\n".join(lines) + "\n")
        take = ["-fflags", "nobuffer", "-flags", "low_delay", "-threads", "1", "-protocol_whitelist", "file,udp,rtp"]
        full = ["ffmpeg", "-nostdin", "-loglevel", "fatal", *take, "-i", str(session), *options]
        process = subprocess.Popen(full, stdout=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def even_port() -> int:
    """RTP's port; the one after it is RTCP's. Linux gives out odd ones where any will do."""
    while True:
        port = relays.free_port() & ~1
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", port))
            return port


def mean(costs: list[Cost]) -> Cost:
    """Weighted by frames."""
    frames = sum(cost.frames for cost in costs)

    def over(values: list[float]) -> float:
        return sum(v * cost.frames for v, cost in zip(values, costs, strict=True)) / max(frames, 1)

    def each(tables: list[Mapping[str, float]]) -> dict[str, float]:
        return {name: over([t.get(name, 0.0) for t in tables]) for name in dict.fromkeys(n for t in tables for n in t)}

    return Cost(
        over([cost.ms for cost in costs]),
        frames,
        over([cost.kbit_s for cost in costs]),
        each([cost.parts for cost in costs]),
        each([cost.stages for cost in costs]),
    )


def row(case: Case, relay: Cost, ffmpeg: Cost) -> dict[str, Any]:
    ratio = relay.ms / ffmpeg.ms
    return {"codec": case.codec, "layout": case.layout, "ratio": ratio, "relay": vars(relay), "ffmpeg": vars(ffmpeg)}


def show(rows: list[dict[str, Any]]) -> None:
    for one in rows:
        ours, theirs, ratio = one["relay"], one["ffmpeg"], one["ratio"]
        print(f"{one['codec']} {one['layout']}: relay {ours['ms']:.2f} ms/frame, FFmpeg {theirs['ms']:.2f}, ", end="")
        print(f"ratio {ratio:.2f}, {'met' if ratio <= AT_MOST else 'missed'} (at most {AT_MOST})")
        print(f"  frames {ours['frames']} and {theirs['frames']}, kbit/s ", end="")
        print(f"{ours['kbit_s']:.0f} and {theirs['kbit_s']:.0f}")
        for title in ("parts", "stages"):
            cells = sorted(ours[title].items(), key=lambda item: -item[1])
            print(f"  {title}: " + ", ".join(f"{name} {value:.2f}" for name, value in cells if value >= 0.005))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--codecs", default="VP8,H264")
    parser.add_argument("--json")
    options = parser.parse_args()
    if unknown := set(options.codecs.split(",")) - {"VP8", "H264"}:
        parser.error(f"--codecs: {', '.join(sorted(unknown))} is neither VP8 nor H264")
    if shutil.which("ffmpeg") is None:
        parser.error("there is no ffmpeg here: install it (Debian's package ffmpeg) and try again")
    here, clip = relays.machine(), portrait(640, 1_000_000)
    cases = [Case(codec, layout) for codec in options.codecs.split(",") for layout in LAYOUTS]
    costs: dict[Case, tuple[list[Cost], list[Cost]]] = {case: ([], []) for case in cases}
    threads, other = multiprocessing.get_context("spawn").Pipe()
    with (
        LightProcess({"clip": clip}) as publisher,
        LightProcess({"clip": clip}) as watcher,
        relays.spawned(relays.without_enhancement, other, BITRATE) as relay,
    ):
        for _ in range(options.rounds):
            for case, (ours, theirs) in costs.items():
                ours.append(of_relay(case, relay, threads, (publisher, watcher), options.seconds))
                theirs.append(of_ffmpeg(case, clip, options.seconds))
    rows = [row(case, mean(ours), mean(theirs)) for case, (ours, theirs) in costs.items()]
    met = [
        {
            "goal": f"{one['codec']} {one['layout']}: at most {AT_MOST} times FFmpeg's processor time a frame",
            "value": one["ratio"],
            "met": one["ratio"] <= AT_MOST,
        }
        for one in rows
    ]
    show(rows)
    if options.json:
        found = {"machine": here, "options": vars(options), "cases": rows, "goals": met}
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
