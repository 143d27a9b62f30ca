"""Two watchers of one view, one behind a narrow path and one behind a wide one: what each sees.

    python -m benchmarks.calls.two_watchers [--seconds 60] [--narrow 300000] [--wide 4000000] [--remb] [--json OUT]

Relay, publisher and watchers are processes of their own; each watcher's packets go through a UDP forwarder that lets
that many bit/s through and holds a fifth of a second of them. The one on the wide path watches alone for half of
--seconds, then both watch for --seconds: the first must not see a difference. Watchers are aiortc's; they report the
arrival of each packet as browsers do (transport-wide feedback), or with --remb an estimate of their own. Freezes are
W3C's, and the narrow watcher's count from when it joins.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import httpx

from benchmarks.calls.impairments import answer_of
from benchmarks.shared.forwarder import Forwarder, Path, forwarding
from benchmarks.shared.impaired import ImpairedPeer
from benchmarks.shared.peers import MovingVideo, Shown, TexturedVideo, serving
from benchmarks.shared.reporting import AskingPeer, ReportingPeer
from server.media.receive.freezes import Freezes

VIEW = "/whep/bench/ann?view=original&layout=native"
SAMPLE = 5.0  # seconds between lines about the watchers


@dataclass(frozen=True)
class Seen:
    """What one watcher saw between two moments. kbit_s: that came through its path; widths: share of the frames by
    their width, percent; queue: packets lost for want of room."""

    frames_s: float
    freezes: int
    freezes_a_minute: float
    longest_ms: float
    kbit_s: float
    widths: dict[int, float]
    queue: int


def seen(frames: Sequence[Shown], begin: float, end: float, size: int, queue: int) -> Seen:
    """size: bytes that came between the two, clock seconds."""
    freezes, before = Freezes(), 0
    for frame in frames:
        if frame.time < end:
            freezes.add(frame.time)
        if frame.time < begin:
            before = freezes.count
    times = [begin, *(frame.time for frame in frames if begin <= frame.time < end), end]
    widths = Counter(frame.size[0] for frame in frames if begin <= frame.time < end)
    seconds, count = end - begin, len(times) - 2
    return Seen(
        count / seconds,
        freezes.count - before,
        60 * (freezes.count - before) / seconds,
        1000 * max(after - before for before, after in pairwise(times)),
        8 * size / seconds / 1000,
        {width: round(100 * shown / count, 1) for width, shown in sorted(widths.items())},
        queue,
    )


def relay(ready, stop) -> None:
    async def run() -> None:
        async with serving() as served:
            ready.put(str(served.http.base_url))
            await asyncio.to_thread(stop.wait)

    asyncio.run(run())


def publish(url: str, width: int, stop) -> None:
    async def run() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=20) as http, forwarding() as forwarder:
            video: MovingVideo = TexturedVideo(width, width * 9 // 16)
            publisher = await ImpairedPeer(http, forwarder).publish("/whip/bench/ann", video)
            await asyncio.to_thread(stop.wait)
            await publisher.close()

    asyncio.run(run())


def watch(url: str, options: argparse.Namespace, done) -> None:
    kind = AskingPeer if options.remb else ReportingPeer

    async def run() -> None:
        clock = asyncio.get_running_loop().time
        async with (
            httpx.AsyncClient(base_url=url, timeout=20) as http,
            forwarding(seed=1) as wide_path,
            forwarding(seed=2) as narrow_path,
        ):
            while "ann" not in (await http.get("/api/rooms/bench")).json()["participants"]:
                await asyncio.sleep(0.2)

            async def join(forwarder: Forwarder, rate: float) -> ImpairedPeer:
                forwarder.impair(Path(), back=Path(rate=rate))
                return await kind(http, forwarder).watch(VIEW, ("video",))

            async def passed(peer: ImpairedPeer, seconds: float) -> tuple[float, float, int, int]:
                """The begin, the end, the bytes and the losses for want of room."""
                counts, begin = Counter(peer.forwarder.down.counts), clock()
                for _ in range(max(1, round(seconds / SAMPLE))):
                    size = peer.forwarder.down.counts["bytes"]
                    await asyncio.sleep(SAMPLE)
                    rate = 8 * (peer.forwarder.down.counts["bytes"] - size) / SAMPLE / 1000
                    width = peer.frames[-1].size[0] if peer.frames else 0
                    name = "wide" if peer is wide else "narrow"
                    print(f"# {clock() - begin:5.1f} s {name:>6} {rate:7.0f} kbit/s, width {width}", flush=True)
                after = peer.forwarder.down.counts
                return begin, clock(), after["bytes"] - counts["bytes"], after["queue"] - counts["queue"]

            wide = await join(wide_path, options.wide)
            while not wide.frames:
                await asyncio.sleep(0.05)
            results = {"wide, alone": seen(wide.frames, *await passed(wide, options.seconds / 2))}
            narrow = await join(narrow_path, options.narrow)
            both = await asyncio.gather(passed(wide, options.seconds), passed(narrow, options.seconds))
            results["wide, of two"] = seen(wide.frames, *both[0])
            results["narrow"] = seen(narrow.frames, *both[1])
            done.put(results)
            await asyncio.gather(wide.close(), narrow.close())

    asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--narrow", type=float, default=300_000, help="bit/s")
    parser.add_argument("--wide", type=float, default=4_000_000, help="bit/s")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--remb", action="store_true", help="watchers that report estimates instead of arrivals")
    parser.add_argument("--json")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ready, done, stop = context.Queue(), context.Queue(), context.Event()
    processes = [context.Process(target=relay, args=(ready, stop))]
    processes[0].start()
    try:
        url = ready.get(timeout=180)
        processes.append(context.Process(target=publish, args=(url, options.width, stop)))
        processes.append(context.Process(target=watch, args=(url, options, done)))
        for process in processes[1:]:
            process.start()
        results: dict[str, Seen] = answer_of(done, processes)
    finally:
        stop.set()
        for process in processes:
            process.join(10)
            process.kill()
    for name, one in results.items():
        print(
            f"{name:>12}: {one.frames_s:.1f} frames/s, {one.freezes_a_minute:.1f} freezes/min, longest "
            f"{one.longest_ms:.0f} ms, {one.kbit_s:.0f} kbit/s, widths {one.widths}, {one.queue} found no room",
            flush=True,
        )
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"options": vars(options), "watchers": {n: asdict(one) for n, one in results.items()}}, file)


if __name__ == "__main__":
    main()
