"""One call through a relay of its own process: what comes out, how old it is, how much of it is enhanced.

    python -m benchmarks.calls.call [--width 320|640|1280] [--seconds 60] [--view enhanced]
        [--layout upscale] [--json OUT]

Publisher and watcher are processes of their own. A portrait comes close, walks away to a headshot of 31 px (LR 32) and
stays there, swaying. Frames are sent at 20 per second. Figures are per window of 10 seconds once the face is far.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

import httpx
import numpy as np

from benchmarks.shared.portrait import CLOSE_FRAMES, FPS, WALK_FRAMES, Portrait

WINDOW = 10  # seconds


def publish(url: str, width: int, stop) -> None:
    async def run() -> None:
        from benchmarks.shared.peers import Peer

        async with httpx.AsyncClient(base_url=url) as http:
            peer = await Peer(http).publish("/whip/bench/ann", Portrait(frames=300, width=width))
            await asyncio.to_thread(stop.wait)
            await peer.leave()

    asyncio.run(run())


def watch(url: str, query: str, stop, counts) -> None:
    """Puts (clock time, frames so far) into `counts` each second."""

    async def run() -> None:
        from aiortc.mediastreams import MediaStreamError

        from benchmarks.shared.peers import Peer

        class Counter(Peer):
            count = 0

            async def _read(self, track) -> None:
                with suppress(MediaStreamError):
                    while True:
                        await track.recv()
                        self.count += 1

        async with httpx.AsyncClient(base_url=url) as http:
            peer = await Counter(http).watch(f"/whep/bench/ann?{query}", ("video",))
            while not stop.is_set():
                await asyncio.sleep(1)
                counts.put((time.time(), peer.count))
            await peer.leave()

    asyncio.run(run())


def wait_for(url: str, path: str, good, seconds: float = 120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(httpx.HTTPError):
            answer = httpx.get(url + path)
            if good(answer):
                return answer
        time.sleep(0.3)
    raise TimeoutError(f"{path} did not become what it should within {seconds} s")


def memory_mib(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


def windows(points: list[dict], received: list[tuple[float, int]], start: float, end: float) -> list[dict]:
    rows = []
    for begin in np.arange(start, end - WINDOW + 0.5, WINDOW):
        inside = [p for p in points if begin <= p["t"] < begin + WINDOW]
        counted = [n for t, n in received if begin <= t < begin + WINDOW + 1]
        if not inside or len(counted) < 2:
            continue

        def mean(key: str, inside: list[dict] = inside) -> float:
            return float(np.mean([p[key] for p in inside]))

        latencies = [p["frame_latency"] for p in inside if p["frame_latency"]]
        rows.append(
            {
                "second": round(begin - start),
                "fps_in": mean("fps_in"),
                "fps_out": mean("fps_out"),
                "fps_watched": (counted[-1] - counted[0]) / (len(counted) - 1),
                "latency_p50": float(np.median([x["p50"] for x in latencies])),
                "latency_p95": float(np.max([x["p95"] for x in latencies])),
                **{k: float(np.mean([p["outcomes"][k] for p in inside])) for k in inside[0]["outcomes"]},
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=320, choices=(320, 640, 1280))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--view", default="enhanced")
    parser.add_argument("--layout", default="upscale")
    parser.add_argument("--port", type=int, default=18080)
    parser.add_argument("--json")
    options = parser.parse_args()
    context, url = multiprocessing.get_context("spawn"), f"http://127.0.0.1:{options.port}"
    stop, counts = context.Event(), context.Queue()
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "server.cli", "serve", "--port", str(options.port), "--data", data]
        relay = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peers = []
        try:
            wait_for(url, "/readyz", lambda a: a.status_code == 200)
            peers.append(context.Process(target=publish, args=(url, options.width, stop)))
            peers[0].start()
            wait_for(url, "/api/rooms/bench", lambda a: "ann" in a.json()["participants"])
            query = f"view={options.view}&layout={options.layout}"
            peers.append(context.Process(target=watch, args=(url, query, stop, counts)))
            peers[1].start()
            time.sleep((CLOSE_FRAMES + WALK_FRAMES) / FPS + 5)
            start, memory = time.time(), memory_mib(relay.pid)
            time.sleep(options.seconds)
            end, memory = time.time(), (memory, memory_mib(relay.pid))
            points = httpx.get(url + "/api/stats").json()["points"]
            bank = httpx.get(url + "/api/rooms/bench/ann/bank").json()["exemplars"]
        finally:
            stop.set()
            received = []
            time.sleep(1.5)
            while not counts.empty():
                received.append(counts.get())
            for peer in peers:
                peer.join(5)
                peer.kill()
            relay.terminate()
            relay.wait(10)
    rows = windows(points, received, start, end)
    names = list(rows[0])
    print("  ".join(f"{n:>11}" for n in names))
    for row in rows:
        print("  ".join(f"{row[n]:11.1f}" for n in names))
    stages = {s for p in points for s in p["stages"]}
    far = [p for p in points if p["t"] >= start]
    means = {s: float(np.median([p["stages"][s]["p50"] for p in far if s in p["stages"]] or [0])) for s in stages}
    print("stages, median ms: " + ", ".join(f"{k} {v:.1f}" for k, v in sorted(means.items(), key=lambda i: -i[1])))
    print(f"exemplars {len(bank)}; resident memory {memory[0]:.0f} MiB at first, {memory[1]:.0f} MiB in the end")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"options": vars(options), "windows": rows, "stages": means, "memory": memory}, file, indent=1)


if __name__ == "__main__":
    main()
