"""What it costs that the engine is a process of its own, against one in the worker's process, in one run.

    python -m benchmarks.network.engine_process [--rates 500,1000,3000] [--seconds 4] [--rounds 3]
                                                [--weights NAME --device cpu|cuda] [--json OUT]

Faces of LR 32 are sent one by one, and sixteen at a time as sixteen calls would, at so many a second. By itself the
network takes no time and there are no exemplars: what is left is the way there and back, and the batching that both
have. With --weights the network is a real one, of faces with three exemplars each.

Host time is processor time for a face, of both processes together; the extra is what is beyond an engine in the same
process. The ways take turns, the table has medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2

from benchmarks.network.engine_load import faces
from benchmarks.shared import relays
from benchmarks.shared.idle_engine import Nothing
from benchmarks.shared.paced_faces import answered
from hime_core.engine import BatchingEngine, Engine, FaceRequest
from server.engines.keeper import MODULE, Keeper
from server.engines.load import load_engine
from server.engines.remote import connected
from server.settings import Settings


@dataclass(frozen=True)
class Load:
    """host_us: processor time for a face, microseconds, of both processes; the rest as Answered has it."""

    place: str
    at_once: int
    rate: float
    host_us: float
    p50: float
    p95: float
    batch: float
    refused: float
    behind: float


def load(
    place: str, engine: Engine, sizes: list[int], used: Callable[[], float], asked: list[FaceRequest], rate: float,
    seconds: float,
) -> Load:  # fmt: skip
    """asked: what is sent at once. used: seconds of processor time of all who take part."""
    before = used()
    one = answered(engine, sizes, [asked], rate, seconds)
    host = 1e6 * (used() - before) / one.faces
    return Load(place, len(asked), rate, host, one.p50, one.p95, one.batch, one.refused, one.behind)


async def measured(options: argparse.Namespace) -> list[Load]:
    settings = Settings(_env_file=None, weights=options.weights or "auto", device=options.device)
    sizes: list[int] = []

    def on_batch(size: int, seconds: float) -> None:
        sizes.append(size)

    with tempfile.TemporaryDirectory() as folder:
        module = MODULE if options.weights else "benchmarks.shared.idle_engine"
        keeper = Keeper(settings, Path(folder) / "engine.sock", module=module)
        running = asyncio.create_task(keeper.run())
        try:
            remote = await asyncio.to_thread(connected, keeper.path, 300, on_batch)
            own = (
                await asyncio.to_thread(load_engine, settings.weights, settings.device, on_batch, lambda seconds: None)
                if options.weights
                else BatchingEngine(Nothing(), on_batch=on_batch)
            )
            return await asyncio.to_thread(_rounds, options, own, remote, sizes, keeper.pid or 0)
        finally:
            running.cancel()
            keeper.close()


def _rounds(options: argparse.Namespace, own: Engine, remote: Engine, sizes: list[int], pid: int) -> list[Load]:
    sixteen = faces(16, own.scale)
    if not options.weights:
        sixteen = [replace(face, exemplars=()) for face in sixteen]
    ways: list[tuple[str, Engine, Callable[[], float]]] = [
        ("in the process", own, time.process_time),
        ("engine process", remote, lambda: time.process_time() + relays.cpu_seconds(pid)),
    ]
    found = []
    for rate in map(float, options.rates.split(",")):
        for at_once in (1, 16):
            rounds: dict[str, list[Load]] = {place: [] for place, _, _ in ways}
            for _ in range(options.rounds):
                for place, engine, used in ways:
                    one = load(place, engine, sizes, used, sixteen[:at_once], rate, options.seconds)
                    rounds[place].append(one)
            for place, loads in rounds.items():
                middle = sorted(loads, key=lambda one: one.host_us)[len(loads) // 2]
                found.append(middle)
                print(
                    f"{rate:6.0f} faces/s, {at_once:2} at once, {place}: {middle.host_us:6.0f} us of host time a face, "
                    f"p50 {middle.p50:5.1f} p95 {middle.p95:5.1f} ms, {middle.batch:4.1f} a batch, refused "
                    f"{middle.refused:.1%}, sender behind {middle.behind:.1f} ms", flush=True,
                )  # fmt: skip
            print(f"{'':21}extra: {found[-1].host_us - found[-2].host_us:.0f} us a face")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="500,1000,3000", help="faces a second, with commas between")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", help="of a real network")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of a real network")
    parser.add_argument("--json")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # as the relay has it
    here = relays.machine()
    found = asyncio.run(measured(options))
    if options.json:
        rows = [asdict(one) for one in found]
        Path(options.json).write_text(json.dumps({"machine": here, "options": vars(options), "loads": rows}, indent=1))


if __name__ == "__main__":
    main()
