"""One long call, and others that come and go: whether anything of the relay's grows with time.

    python -m benchmarks.calls.soak [--minutes 30] [--stand-ins] [--alone] [--view enhanced] [--layout upscale]
        [--json OUT]

One publisher and one watcher stay; two guests at a time join over paths that lose 2 % of the packets each way, half of
them with a photo that they delete again, and leave after 5 to 15 s: by DELETE, by closing, or without a word (--alone:
no guests). The long form is --minutes 240. Relay, publisher, watcher and guests are processes of their own.

Printed for resident memory, threads, file descriptors, tasks of the event loop and the frames' age: the slope (least
squares) and the medians of the first and the last third, both after a warm-up of a sixth of the time, one to five
minutes; and whether that is flat. Age runs from when a frame was due at the publisher to when the watcher has decoded
it. The exit code is 1 where something is not flat.

--stand-ins puts an engine that enlarges and a detector that always finds one far face in place of the network and
MTCNN, so that the media path, the tracker and the compositing are what is measured.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import queue
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np

from benchmarks.calls.call import memory_mib, wait_for
from benchmarks.calls.soak_processes import FPS, publish, relay, visit, watch

__all__ = ["FPS", "soak"]

START = 600.0  # seconds that a process may take to import everything on a busy machine
LEAVE = 15.0  # seconds in which the sessions of the last guests end


@dataclass(frozen=True)
class Judged:
    """slope: per minute. first, last: of the first and the last third. allowed: what `last` may be, to be flat."""

    name: str
    unit: str
    slope: float
    first: float
    last: float
    allowed: float

    @property
    def flat(self) -> bool:
        return self.last <= self.allowed


# What the last third may be, of what the first one was. Guests come and go, so that counts differ by a few.
ALLOWED: dict[str, tuple[str, Callable[[float], float]]] = {
    "memory": ("MiB", lambda first: 1.03 * first),
    "threads": ("", lambda first: first + 4),
    "descriptors": ("", lambda first: first + 6),
    "tasks": ("", lambda first: first + 8),
    "age p50": ("ms", lambda first: 1.25 * first + 10),
    "age p95": ("ms", lambda first: 1.25 * first + 20),
}


def judged(name: str, times: Sequence[float], values: Sequence[float]) -> Judged:
    unit, allowed = ALLOWED[name]
    third = max(1, len(values) // 3)
    first, last = median(values[:third]), median(values[-third:])
    return Judged(name, unit, per_minute(times, values), first, last, allowed(first))


def judged_ages(seconds: Sequence[tuple[float, Sequence[float]]]) -> list[Judged]:
    """The frames' ages; percentiles of all frames of a third."""
    third = max(1, len(seconds) // 3)
    found = []
    for name, percent in (("age p50", 50), ("age p95", 95)):
        times, values = zip(*((t, 1000 * float(np.percentile(ages, percent))) for t, ages in seconds), strict=True)
        ends = seconds[:third], seconds[-third:]
        first, last = (1000 * float(np.percentile([a for _, ages in end for a in ages], percent)) for end in ends)
        unit, allowed = ALLOWED[name]
        found.append(Judged(name, unit, per_minute(times, values), first, last, allowed(first)))
    return found


def per_minute(times: Sequence[float], values: Sequence[float]) -> float:
    return float(60 * np.polyfit(np.asarray(times) - times[0], values, 1)[0])


def warm_up(minutes: float) -> float:
    """Seconds; most of a call of a few minutes is not to be warm-up."""
    return min(300.0, max(60.0, 10 * minutes), 20 * minutes)


def count(pid: int) -> tuple[float, int, int]:
    """Resident MiB, threads and file descriptors of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    threads = next(line for line in status.splitlines() if line.startswith("Threads"))
    return memory_mib(pid), int(threads.split()[1]), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def soak(
    minutes: float, stand_ins: bool, query: str, guests: bool = False, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """judged: a list of Judged; memory_slope, age_slope: per minute, MiB and ms; by second memory_mib and age_ms;
    outcomes of the last ten minutes' frames; objects of the relay's that were left when the guests had gone; guests:
    what those did."""
    context = multiprocessing.get_context("spawn")
    ready, started, seconds, told, visited = (context.Queue() for _ in range(5))
    stop, stop_relay, stop_guests = (context.Event() for _ in range(3))
    processes = [context.Process(target=relay, args=(ready, stop_relay, stand_ins, told))]
    processes[0].start()
    pid = processes[0].pid
    samples: list[tuple[float, float, int, int]] = []
    tasks: list[tuple[float, int]] = []
    objects: dict[str, int] = {}
    did: dict[str, int] = {}
    watched: list[tuple[float, list[float]]] = []

    def drained() -> None:
        with suppress(queue.Empty):
            while True:
                one = told.get_nowait()
                if isinstance(one, dict):
                    objects.update(one)
                else:
                    tasks.append(one)
        with suppress(queue.Empty):
            while True:
                watched.append(seconds.get_nowait())

    def begin(target, *args) -> None:
        processes.append(context.Process(target=target, args=args))
        processes[-1].start()

    try:
        url = ready.get(timeout=START)
        wait_for(url, "/healthz", lambda answer: answer.status_code == 200)
        begin(publish, url, started, stop)
        start = started.get(timeout=START)
        wait_for(url, "/api/rooms/bench", lambda answer: "ann" in answer.json()["participants"])
        begin(watch, url, query, start, stop, seconds)
        watched.append(seconds.get(timeout=START))
        if guests:
            begin(visit, url, stop_guests, visited)
        begun = time.monotonic()
        while time.monotonic() < begun + 60 * minutes:
            time.sleep(1)
            samples.append((time.monotonic(), *count(pid)))
            drained()
            if len(samples) % 60 == 0:
                _, memory, threads, files = samples[-1]
                say(f"{len(samples):6d} s  {memory:7.1f} MiB  {threads} threads  {files} files  {tasks[-1][1]} tasks")
        points = httpx.get(url + "/api/stats", timeout=60).json()["points"]
        if guests:
            stop_guests.set()
            did = visited.get(timeout=120)
            wait_for(url, "/api/rooms/bench", lambda answer: _names(answer.json()) <= {"ann"})
            time.sleep(LEAVE)
    finally:
        stop_guests.set()
        stop.set()
        time.sleep(2)
        stop_relay.set()
        end_by = time.monotonic() + LEAVE
        while not objects and processes[0].is_alive() and time.monotonic() < end_by:
            time.sleep(0.2)
            drained()
        for process in processes:
            process.join(10)
            process.kill()
    settled, end = begun + warm_up(minutes), samples[-1][0]
    steady = [sample for sample in samples if sample[0] >= settled]
    times = [sample[0] for sample in steady]
    ages = [(t, ages) for t, ages in watched if settled <= t <= end]
    busy = [(t, n) for t, n in tasks if settled <= t <= end]
    judgements = [
        judged("memory", times, [sample[1] for sample in steady]),
        judged("threads", times, [sample[2] for sample in steady]),
        judged("descriptors", times, [sample[3] for sample in steady]),
        judged("tasks", [t for t, _ in busy], [n for _, n in busy]),
        *judged_ages(ages),
    ]
    return {
        "minutes": minutes,
        "judged": judgements,
        "memory_slope": judgements[0].slope,
        "age_slope": next(one.slope for one in judgements if one.name == "age p50"),
        "memory_mib": [round(sample[1], 1) for sample in samples],
        "age_ms": [round(1000 * median(of_second), 1) for _, of_second in ages],
        "outcomes": {name: sum(point["outcomes"][name] for point in points) for name in points[0]["outcomes"]},
        "objects": objects,
        "guests": did,
    }


def _names(room: dict[str, Any]) -> set[str]:
    """Of those who are there, and who are waited for as they left without a word."""
    return {*room["participants"], *room.get("reconnecting", ())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--stand-ins", action="store_true")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--view", default="enhanced")
    parser.add_argument("--layout", default="upscale")
    parser.add_argument("--json")
    options = parser.parse_args()
    query = f"view={options.view}&layout={options.layout}"
    say = lambda line: print(line, flush=True)  # noqa: E731
    got = soak(options.minutes, options.stand_ins, query, not options.alone, say)
    print(f"{'':12} {'first third':>12} {'last third':>12} {'slope/min':>10}")
    for one in got["judged"]:
        verdict = "flat" if one.flat else f"NOT FLAT (at most {one.allowed:.0f})"
        print(f"{one.name:12} {one.first:12.1f} {one.last:12.1f} {one.slope:+10.3f} {one.unit:4} {verdict}")
    print("frames by outcome, last ten minutes: " + ", ".join(f"{k} {v}" for k, v in got["outcomes"].items()))
    print("guests: " + (", ".join(f"{k} {v}" for k, v in got["guests"].items()) or "none"))
    print("objects left with the one who stays: " + ", ".join(f"{k} {v}" for k, v in got["objects"].items()))
    if options.json:
        with open(options.json, "w") as file:
            kept = got | {"judged": [asdict(one) | {"flat": one.flat} for one in got["judged"]]}
            json.dump({"options": vars(options), **kept}, file, indent=1)
    return 0 if all(one.flat for one in got["judged"]) else 1


if __name__ == "__main__":
    sys.exit(main())
