"""Where several workers' faces are best enhanced: in each worker, or in one engine process that all ask.

    python -m benchmarks.calls.engine_places [--workers 2] [--calls 2] [--rounds 5] [--seconds 10]
                                            [--relay-cores 0 --load-cores 1] [--device cpu|cuda] [--json OUT]

Enhanced calls of `many_calls`, spread over the workers, with each HIME_ENGINE in turn. The medians of the rounds are
shown, and in how many of them the process had more fresh frames, and a lower p95.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.calls.many_calls import Step, loaded, write_clip
from benchmarks.shared import relays

WIDTH = 640
PLACES = ("worker", "process")
FIGURES = ("p50", "p95", "came", "relay_cores", "enhanced", "carried", "passed", "dropped")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--calls", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ramp", type=float, default=0.5, help="seconds from one call to the next")
    parser.add_argument("--seconds", type=float, default=10, help="that are measured in each round")
    parser.add_argument("--relay-cores", default="", help="numbers of the processors, with commas between")
    parser.add_argument("--load-cores", default="", help="as --relay-cores")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json")
    options = parser.parse_args()
    options.steps = str(options.calls)
    here, rounds = relays.machine(), {place: list[Step]() for place in PLACES}
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, WIDTH)
        for number in range(options.rounds):
            for place in PLACES:
                settings = {"HIME_WORKERS": str(options.workers), "HIME_ENGINE": place}
                with relays.hime(None, options.device, options.relay_cores, settings=settings) as relay:
                    (step,) = loaded(relay.url, clip, WIDTH, "enhanced", options)
                rounds[place].append(step)
                told = ", ".join(f"{name} {step[name]:.2f}" for name in FIGURES)
                print(f"round {number + 1}, {place:7}: {told}", flush=True)
    found = {place: {name: statistics.median(step[name] for step in steps) for name in FIGURES}
             for place, steps in rounds.items()}  # fmt: skip
    pairs = list(zip(rounds["worker"], rounds["process"], strict=True))
    fresher = sum(process["enhanced"] > worker["enhanced"] for worker, process in pairs)
    younger = sum(process["p95"] < worker["p95"] for worker, process in pairs)
    for place, medians in found.items():
        print(f"{place:7}: " + ", ".join(f"{name} {value:.2f}" for name, value in medians.items()))
    print(f"the process: more fresh frames in {fresher}, a lower p95 in {younger} of {len(pairs)} rounds")
    if options.json:
        del options.steps
        told = {"machine": here, "options": vars(options), "places": found, "rounds": rounds}
        told |= {"fresher": fresher, "younger": younger}
        Path(options.json).write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
