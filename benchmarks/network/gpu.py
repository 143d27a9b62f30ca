"""What a graphics card holds, from exemplars to pictures: one table and JSON, in at most eight minutes.

    python -m benchmarks.network.gpu [--device cuda|cpu] [--weights NAME] [--rates 60,240,1000,3000] [--seconds 5]
        [--batches 1,2,4,8,16,32] [--only PARTS] [--json OUT]

Parts, each of which may fail without the others:
- equal: pixels and faces with references cut on the device against the host's, mean grey levels;
- warm_up: shapes run, and recorded, before the first face;
- batches: faces of LR 32 with three references, cut, registered and enhanced; host: processor time of all threads;
- host: processor time until a batch can be launched, and what is left of it when it is back;
- engine: the same through the queue at rates of arrival, and with references cut on the host beside it;
- detector: detections with networks of their own and shared ones;
- composition: what the host does with each answer;
- tests: the CUDA tests, where there is a device.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.faces import detector_batches
from benchmarks.network import engine_load
from benchmarks.shared import relays
from hime_core.compositing.detail import difference
from hime_core.engine import BatchingEngine, DeviceRunner, FaceRunner, HostRunner, TorchBackend
from hime_core.evaluation.bench import medians
from hime_core.faces.geometry import resized
from hime_core.model.checkpoint import DEFAULT_WEIGHTS
from hime_core.model.hime import Hime

WARM_UP = {"cpu": 1.0, "cuda": 60.0}  # seconds at most
HOST_RATES = 480  # faces a second up to which cutting on the host is measured too
TESTS_S = 120
Rows = list[dict[str, Any]]


def warm_up(device: DeviceRunner) -> Rows:
    start = time.monotonic()
    shapes = device.warm_up(WARM_UP[device.device.type])
    return [{"shapes": shapes, "recorded": device.recorded.shapes, "seconds": time.monotonic() - start}]


def equal(device: DeviceRunner, host: HostRunner) -> Rows:
    requests = engine_load.faces(4, device.scale)
    pairs = {
        "references": (device.references(requests), host.cutter.stacks(requests)),
        "faces": (np.stack(device.enhance(requests)), np.stack(host.enhance(requests))),
    }
    return [{name: float(np.abs(one.astype(int) - other).mean()) for name, (one, other) in pairs.items()}]


def batches(runner: FaceRunner, sizes: Sequence[int], seconds: float) -> Rows:
    rows = []
    for size in sizes:
        requests = engine_load.faces(size, runner.scale)
        runner.enhance(requests)
        count, start, used = 0, time.perf_counter(), time.process_time()

        def lane(requests: Any = requests, until: float = start + seconds) -> None:
            nonlocal count
            while time.perf_counter() < until:
                runner.enhance(requests)
                count += 1

        lanes = [threading.Thread(target=lane) for _ in range(runner.lanes)]
        for thread in lanes:
            thread.start()
        for thread in lanes:
            thread.join()
        wall, host = time.perf_counter() - start, time.process_time() - used
        rows.append(
            {
                "batch": size,
                "ms": 1e3 * wall / count,
                "faces_per_s": size * count / wall,
                "host_ms_a_face": 1e3 * host / (size * count),
            }
        )
    return rows


def host_work(device: DeviceRunner, sizes: Sequence[int]) -> Rows:
    """What a batch costs the host before it is launched: the device is left out."""
    rows, launch = [], device.recorded.launch
    for size in sizes:
        requests = engine_load.faces(size, device.scale)
        answer = np.zeros((size, 32 * device.scale, 32 * device.scale, 3), np.uint8)
        device.recorded.launch = lambda *batches, answer=answer: lambda: answer  # type: ignore[method-assign, misc]
        try:
            device.enhance(requests)
            (seconds,) = medians([lambda requests=requests: device.enhance(requests)], 50, time.process_time)
        finally:
            device.recorded.launch = launch  # type: ignore[method-assign]
        rows.append({"batch": size, "host_ms_a_batch": 1e3 * seconds, "host_us_a_face": 1e6 * seconds / size})
    return rows


def engine(name: str, runner: FaceRunner, rates: Sequence[float], seconds: float) -> Rows:
    sizes, waits, rows = list[int](), list[float](), []
    queue = BatchingEngine(
        runner, on_batch=lambda size, taken: sizes.append(size), on_wait=lambda wait: waits.append(wait)
    )
    for rate in rates:
        calls = max(1, round(rate / engine_load.FPS))
        engine_load.load(queue, sizes, calls, min(seconds, 1.0))  # exemplars are prepared when first met
        waits.clear()
        used, start = time.process_time(), time.perf_counter()
        one = engine_load.load(queue, sizes, calls, seconds)
        cores = (time.process_time() - used) / (time.perf_counter() - start)
        rows.append(
            {
                "cut": name,
                "faces_per_s": one.offered_per_s,
                "batch": one.batch,
                "wait_ms": 1e3 * float(np.mean(waits)) if waits else None,
                "p50": one.p50,
                "p95": one.p95,
                "refused": one.refused,
                "sender_behind_ms": one.behind,
                "cores": cores,
            }
        )
    queue.close()
    return rows


def composition() -> Rows:
    """In a thread, as in a relay: there the allocator gives memory back less often."""
    rows: Rows = []

    def run() -> None:
        rng = np.random.default_rng(0)
        for side in (32, 48, 64):
            lr, sr = (rng.integers(0, 256, (s, s, 3), np.uint8) for s in (side, 4 * side))

            def once(lr: Any = lr, sr: Any = sr) -> None:
                difference(resized(sr, sr.shape[0]), resized(lr, sr.shape[0]))

            times = []
            for _ in range(200):
                start = time.perf_counter()
                once()
                times.append(time.perf_counter() - start)
            rows.append({"lr": side, "us_a_face": 1e6 * float(np.median(times))})

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return rows


def cuda_tests() -> Rows:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_cuda.py"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=TESTS_S, check=False)
    return [{"passed": found.returncode == 0, "said": found.stdout.strip().splitlines()[-1:]}]


def table(part: str, rows: Rows) -> None:
    print(f"\n{part}")
    heads = list(rows[0])
    print("  " + "".join(f"{head:>18}" for head in heads))
    for row in rows:
        cells = (f"{row[head]:18.3f}" if isinstance(row[head], float) else f"{row[head]!s:>18}" for head in heads)
        print("  " + "".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--rates", default="60,240,1000,3000")
    parser.add_argument("--batches", default="1,2,4,8,16,32")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--only", default="", help="parts, with commas between")
    parser.add_argument("--json")
    o = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    here, begin = relays.machine(), time.monotonic()
    device = DeviceRunner(Hime.from_pretrained(o.weights), o.device)
    host = HostRunner(TorchBackend(Hime.from_pretrained(o.weights), o.device))
    rates, sizes = [float(rate) for rate in o.rates.split(",")], [int(size) for size in o.batches.split(",")]
    parts: dict[str, Callable[[], Rows]] = {
        "warm_up": lambda: warm_up(device),
        "equal": lambda: equal(device, host),
        "batches": lambda: batches(device, sizes, o.seconds),
        "host": lambda: host_work(device, sizes),
        "engine": lambda: engine("device", device, rates, o.seconds),
        "engine_host": lambda: engine("host", host, [r for r in rates if r <= HOST_RATES] or rates[:1], o.seconds),
        "detector": lambda: [asdict(row) for row in detector_batches.measure(o.device, 5)],
        "composition": composition,
        "tests": cuda_tests,
    }
    wanted = o.only.split(",") if o.only else [part for part in parts if part != "tests" or o.device == "cuda"]
    found: dict[str, Any] = {"machine": here, "options": vars(o)}
    failed = False
    for part in wanted:
        try:
            found[part] = parts[part]()
            table(part, found[part])
        except Exception as error:
            failed, found[part] = True, {"error": repr(error)}
            print(f"\n{part}\n  failed: {error!r}", flush=True)
        if o.json:
            with open(o.json, "w") as file:
                json.dump(found, file, indent=1)
    print(f"\n{time.monotonic() - begin:.0f} s")
    host.close()
    sys.exit(failed)


if __name__ == "__main__":
    main()
