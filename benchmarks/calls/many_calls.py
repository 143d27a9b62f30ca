"""How many calls one relay holds before its frames come late, as `hime load` measures it.

    python -m benchmarks.calls.many_calls [--views passthrough,enhanced] [--widths 640] [--seconds 5] [--ramp 0.5]
                                    [--steps 1,2,3,4,6,8,12,16,24,32] [--relay-cores 0] [--load-cores 1]
                                    [--before FOLDER] [--all-steps] [--weights NAME] [--device cpu|cuda] [--json OUT]

A call is a publisher and a watcher, of 25 frames a second with a far face of LR 32. Calls are added as the steps say
until they are not held any more: the 95th percentile of one-way latency passes 100 ms, or less than 95 % of the frames
come through. `passthrough` watches the view that enhances nothing, `enhanced` the upscaled one. A core holds as many
calls as the relay holds, divided by the cores that it is busy with. The load needs processor time too, which is shown:
with --relay-cores and --load-cores each is kept to processors of its own, by their numbers.

least, most fresh: of the calls of a step, the shares of frames (in percent) that the relay says it enhanced freshly,
which tells how fairly what there is was shared out.

--before: another checkout of the repository, whose relay takes turns with this one's under the same load. --all-steps:
all steps are gone through, whether calls are held or not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from benchmarks.shared import relays
from benchmarks.shared.fresh import Fresh
from benchmarks.shared.portrait import Portrait
from benchmarks.shared.replay import WALK

FPS = 25
FAR = 50  # frames until the sway turns back
LATE = 100  # ms
SETTLE = WALK / FPS + 2  # seconds until the newest call's face has become far
KBPS = {320: 500, 640: 1000, 1280: 2000}
VIEWS = {"passthrough": ("original", "native"), "enhanced": ("enhanced", "upscale")}
OUTCOMES = ("enhanced", "carried", "passed", "dropped")
Step = dict[str, Any]


def write_clip(path: Path, width: int) -> None:
    """A portrait that comes close, walks away, and sways; from WALK on it can be shown again and again."""
    camera = Portrait(frames=1, width=width)
    numbers = [*range(WALK + FAR), *range(WALK + FAR, WALK, -1)]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"crf": "10", "preset": "veryfast"})
        stream.width, stream.height = width, width * 9 // 16
        for index, number in enumerate(numbers):
            frame = av.VideoFrame.from_ndarray(camera.shown(number), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def loaded(url: str, clip: Path, width: int, view: str, options: argparse.Namespace) -> list[Step]:
    """One step after the other, up to the first that is not held; raises CalledProcessError where none is measured."""
    seen, layout = VIEWS[view]
    command = [sys.executable, "-m", "server.cli", "load", url, "--json", "--clip", str(clip)]
    command += [] if options.all_steps else ["--until-full"]
    command += ["--steps", options.steps, "--ramp", str(options.ramp), "--seconds", str(options.seconds)]
    command += ["--settle", str(SETTLE), "--limit-ms", str(LATE), "--loop-from", str(WALK / FPS)]
    command += ["--view", seen, "--layout", layout, "--kbps", str(KBPS[width]), "--size", f"{width}x{width * 9 // 16}"]
    keep = relays.kept_to(options.load_cores)
    fresh = Fresh(url)
    with fresh.watching():
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=keep)
    steps = json.loads(done.stdout)["steps"]
    return [_told(step, fresh.shares(step["calls"], options.seconds)) for step in steps]


def _told(step: Step, fresh: Sequence[float]) -> Step:
    """Latencies in ms; came: share of the frames sent; cores: seconds of processor time per second; outcomes: frames/s
    of a call; fresh_least, fresh_most: of all calls, the shares of frames that were freshly enhanced."""
    cores = step["relay_cores"]
    return {
        "calls": step["calls"],
        "p50": step["p50_ms"],
        "p95": step["p95_ms"],
        "came": step["came"],
        "freezes": step["freezes_per_minute"],
        "relay_cores": cores,
        "load_cores": step["load_cores"],
        "load_behind": step["load_behind"],
        "calls_per_core": step["calls"] / cores if cores else None,
        **{name: step["outcomes"].get(name) for name in OUTCOMES},
        "fresh_least": min(fresh, default=None),
        "fresh_most": max(fresh, default=None),
        "held": step["all_held"],
    }


def _cell(key: str, digits: int, factor: float = 1.0) -> Callable[[Step], str]:
    return lambda step: "–" if step[key] is None else f"{factor * step[key]:.{digits}f}"


COLUMNS: dict[str, Callable[[Step], str]] = {
    "calls": _cell("calls", 0),
    "p50 ms": _cell("p50", 1),
    "p95 ms": _cell("p95", 1),
    "came %": _cell("came", 0, 100),
    "freezes/min": _cell("freezes", 1),
    "relay cores": _cell("relay_cores", 2),
    "load cores": _cell("load_cores", 2),
    "calls/core": _cell("calls_per_core", 1),
    **{f"{name}/s": _cell(name, 1) for name in OUTCOMES},
    "least fresh": _cell("fresh_least", 0, 100),
    "most fresh": _cell("fresh_most", 0, 100),
}


def shown(name: str, steps: Sequence[Step]) -> Step:
    """Prints a table, and gives what the report is made of."""
    print(name)
    print("  ".join(f"{head:>11}" for head in COLUMNS))
    for step in steps:
        print("  ".join(f"{cell(step):>11}" for cell in COLUMNS.values()))
    held = [step for step in steps if step["held"]]
    end = "" if len(held) < len(steps) else ", and the steps end there"
    if held:
        per_core = _cell("calls_per_core", 1)(held[-1])
        print(
            f"held: {held[-1]['calls']}, with {_cell('relay_cores', 2)(held[-1])} cores: {per_core} calls a core{end}"
        )
    else:
        print("not even the first step is held")
    if any(step["load_behind"] for step in steps):
        print("the load itself was too slow in some step: give it processors of its own with --load-cores")
    print(flush=True)
    return {
        "steps": list(steps),
        "held": held[-1]["calls"] if held else 0,
        "calls_per_core": held[-1]["calls_per_core"] if held else 0.0,
        "all_steps_held": len(held) == len(steps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", default="passthrough,enhanced")
    parser.add_argument("--widths", default="640", help="of the picture that is sent, with commas between")
    parser.add_argument("--steps", default="1,2,3,4,6,8,12,16,24,32", help="calls, with commas between")
    parser.add_argument("--ramp", type=float, default=0.5, help="seconds from one call to the next")
    parser.add_argument("--seconds", type=float, default=5, help="of each step")
    parser.add_argument("--relay-cores", default="", help="numbers of the processors, with commas between")
    parser.add_argument("--load-cores", default="", help="as --relay-cores")
    parser.add_argument("--before", type=Path, help="another checkout, whose relay is measured as well")
    parser.add_argument("--all-steps", action="store_true", help="also those after one that is not held")
    parser.add_argument("--weights")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json")
    options = parser.parse_args()
    views = options.views.split(",")
    if unknown := set(views) - set(VIEWS):
        parser.error(f"--views: {', '.join(sorted(unknown))} is none of {', '.join(VIEWS)}")
    widths = [int(width) for width in options.widths.split(",") if width.isdigit()]
    if not widths or set(widths) - set(KBPS):
        parser.error(f"--widths {options.widths}: give some of {', '.join(map(str, KBPS))}")
    if options.before and not (options.before / "server").is_dir():
        parser.error(f"--before {options.before}: no checkout of the relay is there")
    for name in ("relay_cores", "load_cores"):
        try:
            relays.kept_to(getattr(options, name))
        except ValueError as error:
            parser.error(f"--{name.replace('_', '-')}: {error}")
    here, results = relays.machine(), {}
    checkouts = {"before ": options.before, "": None} if options.before else {"": None}
    with tempfile.TemporaryDirectory() as folder:
        for width in widths:
            clip = Path(folder) / f"{width}.mp4"
            write_clip(clip, width)
            for view in views:
                for when, checkout in checkouts.items():
                    name = f"{when}{view} {width}x{width * 9 // 16}"
                    with relays.hime(options.weights, options.device, options.relay_cores, checkout) as relay:
                        results[name] = shown(name, loaded(relay.url, clip, width, view, options))
    if options.json:
        found = {"machine": here, "options": vars(options) | {"before": bool(options.before)}, "views": results}
        Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
