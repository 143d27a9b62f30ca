"""A call over a bad network: freezes, latency and recovery, with the publisher's leg through a UDP forwarder.

    python -m benchmarks.calls.impairments [--only loss2,hold] [--seconds 60] [--plain] [--json OUT]

Relay, publisher (with the forwarder) and watcher are processes of their own; the watcher sees the passthrough view over
a clean path. Each scenario: --seconds / 4 of a clean path, --seconds of the bad one, and --seconds / 4 of a clean one.
With --plain, aiortc's own receiver stands in place of the relay. Latency runs from a frame's way into the publisher's
encoder to the watcher's decoded frame, and includes the frame that aiortc's watcher always waits for. The publisher is
aiortc too: it answers each NACK at once, remembers 128 packets, does not pace what it sends, and takes the relay's
estimate (REMB) for its bitrate. Chromium paces, ignores a NACK that is repeated within a round trip, and also acts on
loss by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import queue
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from benchmarks.shared.forwarder import Forwarder, Path, forwarding
from benchmarks.shared.impaired import ImpairedPeer, Outcome, Phases, PlainReceiver, outcome
from benchmarks.shared.peers import MovingVideo, Peer, Shown, serving

PASSTHROUGH = "/whep/bench/ann?view=original&layout=native"
Publisher = ImpairedPeer | PlainReceiver


@dataclass(frozen=True)
class Scenario:
    """path: what the network is while it is bad, clean: before and after. begin: what happens when it becomes bad,
    beyond that."""

    name: str
    path: Path = field(default_factory=Path)
    clean: Path = field(default_factory=Path)
    begin: Callable[[Forwarder, Publisher], None] = lambda forwarder, publisher: None
    at_most_per_minute: float = math.inf  # freezes


def hold(forwarder: Forwarder, publisher: Publisher) -> None:
    forwarder.up.hold_next(0.5, publisher.video)


def hold_unrepaired(forwarder: Forwarder, publisher: Publisher) -> None:
    forwarder.up.refused = publisher.repairs
    hold(forwarder, publisher)


SCENARIOS = (
    Scenario("loss2", Path(loss=0.02), at_most_per_minute=0),
    Scenario("loss5", Path(loss=0.05), at_most_per_minute=2),
    Scenario("delay50", Path(delay=0.05, jitter=0.01)),
    Scenario("delay100", Path(delay=0.1, jitter=0.02)),
    Scenario("loss2delay25", Path(loss=0.02, delay=0.025, jitter=0.005)),
    Scenario("loss5delay50", Path(loss=0.05, delay=0.05, jitter=0.01)),
    Scenario("rate", Path(rate=300_000), Path(rate=2_000_000)),
    Scenario("hold", begin=hold),
    Scenario("holdlost", begin=hold_unrepaired),  # no retransmission comes through either
)


async def phases(scenario: Scenario, forwarder: Forwarder, publisher: Publisher, seconds: float) -> Phases:
    """Runs the scenario on a call that is up."""
    clock = asyncio.get_running_loop().time
    forwarder.impair(scenario.clean)
    await asyncio.sleep(seconds / 4)
    bad = clock()
    forwarder.impair(scenario.path)
    scenario.begin(forwarder, publisher)
    await asyncio.sleep(seconds)
    good = clock()
    forwarder.impair(scenario.clean)
    forwarder.up.refused = frozenset()
    await asyncio.sleep(seconds / 4)
    return Phases(bad, good, clock())


def relay(ready, stop) -> None:
    async def run() -> None:
        async with serving() as served:
            ready.put(str(served.http.base_url))
            await asyncio.to_thread(stop.wait)
            ready.put(
                {
                    sample.name.removeprefix("hime_") + "".join(f" {v}" for v in sample.labels.values()): sample.value
                    for family in served.metrics.registry.collect()
                    for sample in family.samples
                    if sample.name in RECEPTION and sample.value
                }
            )

    asyncio.run(run())


RECEPTION = (
    "hime_missing_packets_total",
    "hime_frames_skipped_total",
    "hime_keyframe_requests_total",
    "hime_freezes_total",
    "hime_frames_total",
)


def publish(url: str, name: str, seconds: float, width: int, up, done) -> None:
    async def run() -> None:
        scenario = next(one for one in SCENARIOS if one.name == name)
        async with httpx.AsyncClient(base_url=url, timeout=20) as http, forwarding(seed=7) as forwarder:
            video = MovingVideo(width, width * 9 // 16)
            publisher = await ImpairedPeer(http, forwarder).publish("/whip/bench/ann", video)
            await asyncio.to_thread(up.wait)
            ran = await phases(scenario, forwarder, publisher, seconds)
            done.put((video.sent, ran, dict(forwarder.up.counts)))
            await publisher.close()

    asyncio.run(run())


def watch(url: str, up, stop, frames) -> None:
    async def run() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=20) as http:
            while "ann" not in (await http.get("/api/rooms/bench")).json()["participants"]:
                await asyncio.sleep(0.2)
            peer = await Peer(http).watch(PASSTHROUGH, ("video",))
            while len(peer.frames) < 20:
                await asyncio.sleep(0.1)
            up.set()
            await asyncio.to_thread(stop.wait)
            frames.put(peer.frames)
            await peer.close()

    asyncio.run(run())


def answer_of(done, processes) -> tuple[dict[int, float], Phases, dict[str, float]]:
    while True:
        try:
            return done.get(timeout=1)
        except queue.Empty:
            if not all(process.is_alive() for process in processes):
                raise RuntimeError("one of the processes has ended before its time; see its error above") from None


def through_relay(scenario: Scenario, seconds: float, width: int) -> tuple[Outcome, dict[str, float]]:
    context = multiprocessing.get_context("spawn")
    ready, done, frames = context.Queue(), context.Queue(), context.Queue()
    up, stop, relay_stop = context.Event(), context.Event(), context.Event()
    processes = [context.Process(target=relay, args=(ready, relay_stop))]
    processes[0].start()
    try:
        url = ready.get(timeout=180)
        processes.append(context.Process(target=publish, args=(url, scenario.name, seconds, width, up, done)))
        processes.append(context.Process(target=watch, args=(url, up, stop, frames)))
        for process in processes[1:]:
            process.start()
        sent, ran, counts = answer_of(done, processes)
        stop.set()
        shown = frames.get(timeout=60)
        relay_stop.set()
        reception = ready.get(timeout=60)
    finally:
        for event in (up, stop, relay_stop):
            event.set()
        for process in processes:
            process.join(10)
            process.kill()
    return outcome(sent, shown, ran), reception | {f"path {name}": count for name, count in counts.items()}


def through_aiortc(scenario: Scenario, seconds: float, width: int) -> tuple[Outcome, dict[str, float]]:
    async def run() -> tuple[dict[int, float], list[Shown], Phases, dict[str, float]]:
        async with forwarding(seed=7) as forwarder:
            video = MovingVideo(width, width * 9 // 16)
            plain = await PlainReceiver(forwarder).connect(video)
            while len(plain.frames) < 20:
                await asyncio.sleep(0.1)
            ran = await phases(scenario, forwarder, plain, seconds)
            await plain.close()
            return video.sent, plain.frames, ran, dict(forwarder.up.counts)

    sent, shown, ran, counts = asyncio.run(run())
    return outcome(sent, shown, ran), {f"path {name}": count for name, count in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of scenarios, commas between: " + ",".join(s.name for s in SCENARIOS))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else [one.name for one in SCENARIOS]
    known = {one.name: one for one in SCENARIOS}
    if unknown := set(names) - set(known):
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
    columns = ("before", "during", "during_p95", "after", "freezes", "per_minute", "longest", "recovered")
    print("  ".join(f"{name:>12}" for name in ("scenario", *columns, "as wanted")))
    results = {}
    for name in names:
        run = through_aiortc if options.plain else through_relay
        got, counts = run(known[name], options.seconds, options.width)
        path = known[name].path
        wanted = (
            got.per_minute <= known[name].at_most_per_minute
            and got.after - got.before <= 10
            and (not name.startswith("hold") or got.during - got.before <= 10)
        )
        cells = [getattr(got, column) for column in columns]
        row = "  ".join("       never" if cell is None else f"{cell:12.1f}" for cell in cells)
        print(f"{name:>12}  {row}  {'yes' if wanted else 'no':>12}", flush=True)
        print("              " + ", ".join(f"{key} {value:g}" for key, value in sorted(counts.items())), flush=True)
        results[name] = {"outcome": got.json(), "counts": counts, "as_wanted": wanted, "path": vars(path)}
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"options": vars(options), "scenarios": results}, file, indent=1)


if __name__ == "__main__":
    main()
