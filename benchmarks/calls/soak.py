"""One long call: whether the relay's memory and the frames' age stay flat.

    python -m benchmarks.calls.soak [--minutes 10] [--stand-ins] [--view enhanced] [--layout upscale] [--json OUT]

Relay, publisher and watcher are processes of their own. Age runs from when a frame was due at the publisher to when
the watcher has decoded it. Slopes are least squares over all seconds after the first minute (or the first third of a
shorter call). --stand-ins puts an engine that enlarges and a detector that always finds one far face in place of the
network and MTCNN, so that the media path, the tracker and the compositing are what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import httpx
import numpy as np

from benchmarks.calls.call import memory_mib, wait_for

FPS = 20
WARM_UP = 60.0  # seconds
START = 600.0  # seconds that a process may take to import everything on a busy machine
SCALE = 0.17
# In the astronaut's picture: the box as x, y, width, height, and the five points.
FACE = 177, 66, 88, 118
LANDMARKS = ((201, 110), (243, 108), (224, 134), (206, 154), (243, 152))


class EnlargingEngine:
    """Answers at once, with the face enlarged."""

    scale = 4

    def submit(self, requests: Sequence[Any]) -> list[Future[np.ndarray]]:
        futures: list[Future[np.ndarray]] = []
        for request in requests:
            futures.append(Future())
            futures[-1].set_result(cv2.resize(request.lr, None, fx=4, fy=4, interpolation=cv2.INTER_LANCZOS4))
        return futures

    def forget(self, exemplar_ids: Iterable[str]) -> None: ...

    def close(self) -> None: ...


class OneFarFace:
    """Finds the face that `picture_of_a_face` shows."""

    def for_stream(self) -> OneFarFace:
        return self

    def detect(self, rgb: np.ndarray, last: Sequence[Any] = ()) -> list[Any]:
        from hime_core.faces.detector import Detection
        from hime_core.faces.geometry import Box

        x, y = place(rgb.shape[1], rgb.shape[0])
        box = Box(x + FACE[0] * SCALE, y + FACE[1] * SCALE, FACE[2] * SCALE, FACE[3] * SCALE)
        return [Detection(box, (np.array(LANDMARKS) * SCALE + (x, y)).astype(np.float32), 0.99)]


def place(width: int, height: int) -> tuple[int, int]:
    """Where the portrait's corner is."""
    return width // 2 - round(256 * SCALE), height // 3


def picture_of_a_face(luma: np.ndarray) -> np.ndarray:
    """The luma with scikit-image's portrait in it, its headshot about 34 px."""
    from skimage.data import astronaut

    small = cv2.resize(astronaut(), None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
    shown = np.full_like(luma, 90)
    x, y = place(luma.shape[1], luma.shape[0])
    shown[y : y + small.shape[0], x : x + small.shape[1]] = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return shown


def relay(ready, stop, stand_ins: bool) -> None:
    import uvicorn

    from server.app import create_app
    from server.settings import Settings

    async def run(data: str) -> None:
        parts = {"engine": EnlargingEngine(), "detector": OneFarFace()} if stand_ins else {}
        app = create_app(Settings(_env_file=None, data=Path(data)), **parts)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.05)
        ready.put(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
        await asyncio.to_thread(stop.wait)
        await app.state.relay.stop()
        server.should_exit = True
        await serving

    with tempfile.TemporaryDirectory() as data:
        asyncio.run(run(data))


def publish(url: str, started, stop) -> None:
    async def run() -> None:
        from benchmarks.shared.peers import MovingVideo, Peer
        from hime_core.video.picture import Picture

        class Face(MovingVideo):
            """A person who sits still, under the number."""

            face: np.ndarray | None = None

            async def recv(self):
                frame = await super().recv()
                if self.face is None:
                    started.put(self._start)
                    self.face = picture_of_a_face(Picture.from_frame(frame).y)
                picture = Picture.from_frame(frame)
                luma = picture.y.copy()
                luma[self.height // 4 :] = self.face[self.height // 4 :]
                shown = Picture(luma, picture.u, picture.v).to_frame()
                shown.pts, shown.time_base = frame.pts, frame.time_base
                return shown

        async with httpx.AsyncClient(base_url=url, timeout=20) as http:
            peer = await Peer(http).publish("/whip/bench/ann", Face(fps=FPS))
            await asyncio.to_thread(stop.wait)
            await peer.leave()

    asyncio.run(run())


def watch(url: str, query: str, start: float, stop, seconds) -> None:
    """Each second: (clock, frames, median age in seconds)."""

    async def run() -> None:
        from aiortc.mediastreams import MediaStreamError

        from benchmarks.shared.peers import Peer, number_of
        from server.proof.numbers import COUNTER_BITS

        class Ages(Peer):
            async def _read(self, track) -> None:
                self.ages: list[float] = []
                with suppress(MediaStreamError):
                    while True:
                        number = number_of(await track.recv())
                        # numbers come round again, ages are taken to be shorter than that
                        self.ages.append((time.monotonic() - start - number / FPS) % (2**COUNTER_BITS / FPS))

        async with httpx.AsyncClient(base_url=url, timeout=20) as http:
            peer = await Ages(http).watch(f"/whep/bench/ann?{query}", ("video",))
            while not stop.is_set():
                await asyncio.sleep(1)
                if ages := getattr(peer, "ages", []):
                    peer.ages = []
                    seconds.put((time.monotonic(), len(ages), median(ages)))
            await peer.leave()

    asyncio.run(run())


def per_minute(times: Sequence[float], values: Sequence[float]) -> float:
    return float(60 * np.polyfit(np.asarray(times) - times[0], values, 1)[0])


def soak(minutes: float, stand_ins: bool, query: str, say=lambda line: None) -> dict[str, Any]:
    """memory_slope in MiB/min, age_slope in ms/min, and by second memory_mib and (frames, age in ms)."""
    context = multiprocessing.get_context("spawn")
    ready, started, seconds = context.Queue(), context.Queue(), context.Queue()
    stop, stop_relay = context.Event(), context.Event()
    processes = [context.Process(target=relay, args=(ready, stop_relay, stand_ins))]
    processes[0].start()
    memory: list[tuple[float, float]] = []
    try:
        url = ready.get(timeout=START)
        wait_for(url, "/healthz", lambda answer: answer.status_code == 200)
        processes.append(context.Process(target=publish, args=(url, started, stop)))
        processes[1].start()
        start = started.get(timeout=START)
        wait_for(url, "/api/rooms/bench", lambda answer: "ann" in answer.json()["participants"])
        processes.append(context.Process(target=watch, args=(url, query, start, stop, seconds)))
        processes[2].start()
        watched = [seconds.get(timeout=START)]
        begin = time.monotonic()
        while time.monotonic() < begin + 60 * minutes:
            time.sleep(1)
            memory.append((time.monotonic(), memory_mib(processes[0].pid)))
            if len(memory) % 30 == 0:
                say(f"{len(memory):5d} s  {memory[-1][1]:7.1f} MiB")
        points = httpx.get(url + "/api/stats", timeout=20).json()["points"]
    finally:
        stop.set()
        time.sleep(2)
        stop_relay.set()
        while not seconds.empty():
            watched.append(seconds.get())
        for process in processes:
            process.join(10)
            process.kill()
    settled = begin + min(WARM_UP, 20 * minutes)
    steady = [(t, m) for t, m in memory if t >= settled]
    ages = [(t, 1000 * age) for t, _, age in watched if settled <= t <= memory[-1][0]]
    outcomes = {name: sum(point["outcomes"][name] for point in points) for name in points[0]["outcomes"]}
    return {
        "minutes": minutes,
        "memory_slope": per_minute(*zip(*steady, strict=True)),
        "memory_mib": [round(m, 1) for _, m in memory],
        "age_slope": per_minute(*zip(*ages, strict=True)),
        "age_ms": [round(age, 1) for _, age in ages],
        "frames": [count for t, count, _ in watched if t >= settled],
        "outcomes": outcomes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--stand-ins", action="store_true")
    parser.add_argument("--view", default="enhanced")
    parser.add_argument("--layout", default="upscale")
    parser.add_argument("--json")
    options = parser.parse_args()
    query = f"view={options.view}&layout={options.layout}"
    got = soak(options.minutes, options.stand_ins, query, lambda line: print(line, flush=True))
    third = max(1, len(got["age_ms"]) // 3)
    print(f"resident memory {got['memory_mib'][0]:.0f} MiB at first, {got['memory_mib'][-1]:.0f} MiB in the end")
    print(f"its slope after the first minute {got['memory_slope']:+.2f} MiB/min (wanted: below 1)")
    print(
        f"age of frames {median(got['age_ms'][:third]):.0f} ms in the first third, "
        f"{median(got['age_ms'][-third:]):.0f} ms in the last, slope {got['age_slope']:+.1f} ms/min"
    )
    print("frames by outcome: " + ", ".join(f"{name} {count}" for name, count in got["outcomes"].items()))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"options": vars(options), **got}, file, indent=1)


if __name__ == "__main__":
    main()
