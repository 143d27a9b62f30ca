"""How the waiting room forms batches: their mean size and how long faces wait, on a simulated clock.

    python -m benchmarks.network.batches [--fps 22] [--streams 1,2,4,12,40,130] [--seconds 20] [--json OUT]

Streams send a face each at their own phase and rate (a tenth apart), with jitter of 4 ms. Batches of n take 1.5 ms and
0.05 ms a face, one after the other, as on a GPU; two lanes prepare them (0.3 ms). Waits are until a batch is taken,
answers until it is done.
"""

from __future__ import annotations

import argparse
import heapq
import json
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.shared import relays
from hime_core.engine.protocol import FaceRequest
from hime_core.engine.waiting import WaitingRoom

LANES, MOST, LATE = 2, 16, 0.1
PREPARATION, BATCH, FACE = 0.3e-3, 1.5e-3, 0.05e-3  # seconds
SMOOTHING = 0.2  # as the engine learns what a batch takes
LR, LANDMARKS = np.zeros((32, 32, 3), np.uint8), np.zeros((5, 2), np.float32)


@dataclass(frozen=True)
class Formed:
    """size: of batches, in the mean; times in ms; late: share of faces refused."""

    streams: int
    faces_per_s: float
    size: float
    wait: float
    answer: float
    answer_p95: float
    late: float


def arrivals(streams: int, fps: float, seconds: float) -> list[tuple[float, int]]:
    rng, found = np.random.default_rng(0), []
    for stream in range(streams):
        rate = fps * rng.uniform(0.9, 1.1)
        times = rng.uniform(0, 1 / rate) + np.arange(int(seconds * rate)) / rate
        found += [(float(time), stream) for time in times + rng.normal(0, 0.004, len(times)).clip(-0.01, 0.01)]
    return sorted(found)


def simulate(streams: int, fps: float, seconds: float, lanes: int = LANES) -> Formed:
    now, learnt, device_free = 0.0, 0.0, 0.0
    room = WaitingRoom(64, lambda bucket: learnt, lambda: now)
    coming, finished = arrivals(streams, fps, seconds), list[tuple[float, int, float]]()
    free, sizes, waits, answers, count = set(range(lanes)), list[int](), list[float](), list[float](), 0
    start, end = coming[0][0], coming[-1][0]
    coming.reverse()
    look = float("inf")
    while coming or finished:
        now = min(coming[-1][0] if coming else float("inf"), finished[0][0] if finished else float("inf"), look)
        while coming and coming[-1][0] <= now:
            stream = coming.pop()[1]
            room.put((FaceRequest(LR, LANDMARKS, (), stream, now + LATE), Future()))
            count += 1
        while finished and finished[0][0] <= now:
            _, lane, begun = heapq.heappop(finished)
            room.done(lane)
            free.add(lane)
            learnt += (now - begun - learnt) * (SMOOTHING if learnt else 1.0)
        look = float("inf")
        while free:
            batch, rest = room.look(MOST, min(free))
            if not batch:
                look = float("inf") if rest is None else now + max(rest, 1e-9)
                break
            device_free = max(device_free, now + PREPARATION) + BATCH + FACE * len(batch)
            heapq.heappush(finished, (device_free, free.pop(), now))
            sizes.append(len(batch))
            waits += [now - work.queued for work in batch]
            answers += [device_free - work.queued for work in batch]
    return Formed(
        streams, count / (end - start), float(np.mean(sizes)), 1e3 * float(np.mean(waits)),
        1e3 * float(np.mean(answers)), 1e3 * float(np.percentile(answers, 95)), room.late / count,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fps", type=float, default=22.0)
    parser.add_argument("--streams", default="1,2,4,12,40,130")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("streams  faces/s  mean batch  mean wait  mean answer  p95 ms   late")
    for streams in map(int, options.streams.split(",")):
        one = simulate(streams, options.fps, options.seconds)
        rows.append(asdict(one))
        print(
            f"{one.streams:7} {one.faces_per_s:8.0f} {one.size:11.2f} {one.wait:10.2f} {one.answer:12.2f} "
            f"{one.answer_p95:7.2f} {one.late:6.1%}"
        )
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": relays.machine(), "options": vars(options), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
