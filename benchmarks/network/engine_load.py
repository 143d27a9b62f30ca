"""What the engine holds: faces a second by batch, and how long faces wait as more calls share it.

    python -m benchmarks.network.engine_load [--device cpu|cuda] [--weights NAME] [--rounds 10]
        [--seconds 2] [--json OUT]

First the network alone, pictures as bytes in and out: LR 32 and 64, one and three references; on CUDA with the share
of the card's arithmetic, against a matrix product in bfloat16 in the same run, and the most memory that it held. Then
the whole engine, references cut and registered: calls of 15 faces of LR 32 a second each with three exemplars, doubled
until p95 passes 60 ms, or more than one face in a hundred is refused for being late (100 ms) or too many.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.shared import relays
from benchmarks.shared.paced_faces import answered
from hime_core.engine import Backend, BatchingEngine, build_backend, build_runner
from hime_core.engine.protocol import FaceRequest
from hime_core.evaluation.bench import medians
from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import Headshot
from hime_core.model.checkpoint import DEFAULT_WEIGHTS
from hime_core.model.count import multiply_accumulates
from hime_core.model.hime import Hime

SIDES, REFERENCES = (32, 64), (1, 3)
BATCHES = {"cpu": (1, 4), "cuda": (1, 2, 4, 8, 16, 32)}
FPS, GOAL, REFUSED, MOST = 15, 60.0, 0.01, 1024
WARM_UP = 60.0  # seconds at most
LANDMARKS = np.float32([[0.38, 0.42], [0.62, 0.42], [0.5, 0.56], [0.4, 0.68], [0.6, 0.68]])


@dataclass(frozen=True)
class Batch:
    lr: int
    refs: int
    batch: int
    ms: float
    faces_per_s: float
    tflops: float
    share: float | None  # of the card's matrix product


@dataclass(frozen=True)
class Load:
    """As Answered has it."""

    calls: int
    offered_per_s: float
    p50: float
    p95: float
    refused: float
    batch: float
    behind: float


def matrix_product() -> float:
    """TFLOP/s of the card in bfloat16."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def product() -> None:
        a @ b
        torch.cuda.synchronize()

    return 2 * 8192**3 / medians([product], 10, time.perf_counter)[0] / 1e12


def batches(backend: Backend, model: Any, device: str, rounds: int, peak: float | None) -> list[Batch]:
    rng, found = np.random.default_rng(0), []
    for side in SIDES:
        for refs in REFERENCES:
            gmacs = multiply_accumulates(model, side, refs)
            for batch in BATCHES[device]:
                lr = rng.integers(0, 256, (batch, side, side, 3), np.uint8)
                references = rng.integers(0, 256, (batch, refs, side * backend.scale, side * backend.scale), np.uint8)
                (seconds,) = medians([lambda lr=lr, r=references: backend.infer(lr, r)], rounds, time.perf_counter)
                tflops = 2 * gmacs * batch / seconds / 1e3
                row = Batch(side, refs, batch, 1e3 * seconds, batch / seconds, tflops, tflops / peak if peak else None)
                found.append(row)
                print(
                    f"LR {side} refs {refs} batch {batch:3}: {row.ms:8.2f} ms, {row.faces_per_s:8.0f} faces/s",
                    flush=True,
                )
    return found


def faces(calls: int, scale: int) -> list[FaceRequest]:
    """One of each call: noise made smooth, as faces are."""
    rng, found = np.random.default_rng(0), []
    for call in range(calls):
        large = cv2.GaussianBlur(rng.integers(0, 256, (256, 256, 3), np.uint8), (0, 0), 4)
        lr = cv2.resize(large, (32, 32), interpolation=cv2.INTER_AREA)
        exemplars = tuple(
            Exemplar(
                f"{call}-{n}", large, Headshot(128, 128, 256), LANDMARKS * 256, 1.0, 0.0, 0.5, "call", n, 0.0, 256.0
            )
            for n in range(3)
        )
        found.append(FaceRequest(lr, LANDMARKS * 32, exemplars, stream=call))
    return found


def load(engine: BatchingEngine, sizes: list[int], calls: int, seconds: float) -> Load:
    """Every call sends at its own phase."""
    one = answered(engine, sizes, [[face] for face in faces(calls, engine.scale)], FPS * calls, seconds)
    return Load(calls, FPS * calls, one.p50, one.p95, one.refused, one.batch, one.behind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load")
    parser.add_argument("--json")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # as the relay has it
    here, model = relays.machine(), Hime.from_pretrained(options.weights)
    cuda = options.device == "cuda"
    peak = matrix_product() if cuda else None
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    backend = build_backend(model, options.device)
    rows = batches(backend, model, options.device, options.rounds, peak)
    memory = torch.cuda.max_memory_reserved() / 2**20 if cuda else None
    if cuda:
        print(f"matrix product {peak:.0f} TFLOP/s; memory at most {memory:.0f} MiB")
    sizes: list[int] = []
    runner = build_runner(model, options.device, WARM_UP)
    engine = BatchingEngine(runner, on_batch=lambda size, seconds: sizes.append(size))
    loads: list[Load] = []
    for calls in (2**n for n in range(MOST.bit_length())):
        load(engine, sizes, calls, 0.3)  # exemplars are prepared when first met
        loads.append(load(engine, sizes, calls, options.seconds))
        one = loads[-1]
        print(
            f"{calls:5} calls, {one.offered_per_s:6.0f} faces/s: p50 {one.p50:6.1f} p95 {one.p95:6.1f} ms, refused "
            f"{one.refused:.1%}, {one.batch:.1f} a batch, sender behind {one.behind:.1f} ms", flush=True,
        )  # fmt: skip
        if not one.p95 <= GOAL or one.refused > REFUSED:
            break
    engine.close()
    if options.json:
        found = {
            "machine": here, "options": vars(options), "peak_tflops": peak, "memory_mib": memory,
            "batches": [asdict(row) for row in rows], "loads": [asdict(one) for one in loads],
        }  # fmt: skip
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
