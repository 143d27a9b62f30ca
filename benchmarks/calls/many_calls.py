"""How many calls one relay holds before its frames come late.

    python -m benchmarks.calls.many_calls [--views passthrough,enhanced] [--steps 1,2,3,4,6,8,12,16,24,32] [--seconds 5]
                                    [--width 640] [--weights NAME] [--device cpu|cuda] [--json OUT]

A call is a publisher and a watcher, of 25 frames a second at 360p with a far face of LR 32; all publishers are one
light process, all watchers another, and the relay is a third. Calls are added as the steps say until they are not held
any more: the 95th percentile of one-way latency, from the publisher's sender to the watcher, passes 100 ms, or less
than 95 % of the frames come through. `passthrough` watches the view that enhances nothing, `enhanced` the upscaled one.
A core holds as many calls as the relay holds, divided by the cores that it is busy with; publishers and watchers need
cores of their own, which are shown, and where there are too few of them the relay is measured with what is left.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.shared import relays
from benchmarks.shared.light import LightProcess, latencies
from benchmarks.shared.relays import Running, counters, cpu_seconds, difference
from benchmarks.shared.replay import Clip, portrait

LATE, WHOLE = 100.0, 0.95  # ms; share of frames that come through
VIEWS = {"passthrough": "view=original&layout=native", "enhanced": "view=enhanced&layout=upscale"}
SETTLE = 2.0  # seconds, after the newest call's face has become far
OUTCOMES = ("enhanced", "carried", "passed", "dropped")


@dataclass(frozen=True)
class Step:
    """Latencies in ms, by the watchers' packets; within: the share of frames that the relay itself says took 100 ms at
    most. came: share of the frames sent. cores: seconds of processor time per second. Outcomes: frames/s of a call."""

    calls: int
    p50: float
    p95: float
    within: float
    came: float
    relay_cores: float
    light_cores: float
    enhanced: float
    carried: float
    passed: float
    dropped: float

    @property
    def held(self) -> bool:
        return self.p95 <= LATE and self.came >= WHOLE

    @property
    def calls_per_core(self) -> float:
        return self.calls / max(self.relay_cores, 1e-9)


def rising(query: str, clip: Clip, relay: Running, steps: Sequence[int], seconds: float) -> Iterator[Step]:
    """One step after the other, up to the first that is not held."""
    with LightProcess({"clip": clip}) as publishers, LightProcess({"clip": clip}) as watchers:
        calls: list[str] = []
        for count in steps:
            while len(calls) < count:
                calls.append(f"call{len(calls)}")
                publishers.call("publish", calls[-1], relay.url, f"/whip/{calls[-1]}/ann", "clip")
                watchers.call("watch", calls[-1], relay.url, f"/whep/{calls[-1]}/ann?{query}")
            time.sleep(clip.loop / clip.fps + SETTLE)
            step = measured(calls, clip, publishers, watchers, relay, seconds)
            yield step
            if not step.held:
                return


def measured(
    calls: Sequence[str], clip: Clip, publishers: LightProcess, watchers: LightProcess, relay: Running, seconds: float
) -> Step:
    def now() -> tuple[float, float, float]:
        return time.monotonic(), cpu_seconds(relay.pid), cpu_seconds(publishers.pid) + cpu_seconds(watchers.pid)

    counts, start = counters(relay.url), now()
    time.sleep(seconds)
    end, gained = now(), difference(counters(relay.url), counts)
    took = end[0] - start[0]
    time.sleep(1)  # for what is under way
    found: list[float | None] = []
    for call in calls:
        sent, watched = publishers.call("sent", call), watchers.call("watched", call)
        found += latencies(clip, sent, watched, start[0], end[0])
    came = 1000 * np.array([one for one in found if one is not None] or [np.nan])
    return Step(
        calls=len(calls),
        p50=float(np.percentile(came, 50)),
        p95=float(np.percentile(came, 95)),
        within=gained["frame_latency_seconds_bucket 0.1"] / max(gained["frame_latency_seconds_count"], 1),
        came=sum(one is not None for one in found) / max(len(found), 1),
        relay_cores=(end[1] - start[1]) / took,
        light_cores=(end[2] - start[2]) / took,
        **{name: gained[f"frames_total {name}"] / took / len(calls) for name in OUTCOMES},
    )


COLUMNS: dict[str, Callable[[Step], str]] = {
    "calls": lambda step: f"{step.calls}",
    "p50 ms": lambda step: f"{step.p50:.1f}",
    "p95 ms": lambda step: f"{step.p95:.1f}",
    "<= 100 ms": lambda step: f"{100 * step.within:.0f} %",
    "came": lambda step: f"{100 * step.came:.0f} %",
    "relay cores": lambda step: f"{step.relay_cores:.2f}",
    "light cores": lambda step: f"{step.light_cores:.2f}",
    "calls/core": lambda step: f"{step.calls_per_core:.1f}",
    **{f"{name}/s": lambda step, name=name: f"{getattr(step, name):.1f}" for name in OUTCOMES},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", default="passthrough,enhanced")
    parser.add_argument("--steps", default="1,2,3,4,6,8,12,16,24,32", help="calls, with commas between")
    parser.add_argument("--seconds", type=float, default=5, help="of each step")
    parser.add_argument("--width", type=int, default=640, choices=(320, 640, 1280))
    parser.add_argument("--weights")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json")
    options = parser.parse_args()
    steps, views = [int(step) for step in options.steps.split(",")], options.views.split(",")
    if unknown := set(views) - set(VIEWS):
        parser.error(f"--views: {', '.join(sorted(unknown))} is none of {', '.join(VIEWS)}")
    if steps != sorted(set(steps)) or steps[0] < 1:
        parser.error(f"--steps {options.steps}: they must rise, from 1 or more")
    here = relays.machine()
    clip = portrait(options.width, 1_000_000, close=True)
    results: dict[str, Any] = {}
    for view in views:
        print(view)
        print("  ".join(f"{name:>11}" for name in COLUMNS))
        with relays.hime(options.weights, options.device) as relay:
            found = []
            for step in rising(VIEWS[view], clip, relay, steps, options.seconds):
                found.append(step)
                print("  ".join(f"{cell(step):>11}" for cell in COLUMNS.values()), flush=True)
        held = [step for step in found if step.held]
        best = held[-1] if held else None
        end = "" if len(held) < len(found) else ", and the steps end there"
        if best:
            cores = f"with {best.relay_cores:.2f} cores: {best.calls_per_core:.1f} calls a core"
            print(f"held: {best.calls}, {cores}{end}\n")
        else:
            print("not even the first step is held\n")
        results[view] = {
            "steps": [{**asdict(step), "held": step.held, "calls_per_core": step.calls_per_core} for step in found],
            "held": best.calls if best else 0,
            "calls_per_core": best.calls_per_core if best else 0.0,
            "all_steps_held": len(held) == len(found),
        }
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": here, "options": vars(options), "views": results}, file, indent=1)


if __name__ == "__main__":
    main()
