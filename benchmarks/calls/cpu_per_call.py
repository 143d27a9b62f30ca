"""Processor time per frame of an enhanced call, by thread and by function; of several trees, taking turns.

    python -m benchmarks.calls.cpu_per_call [TREE ...] [--rounds 2] [--frames 150] [--widths 640,320] [--rungs]
                                            [--json OUT]

TREE: folders of checkouts of this repository, the first one the one that the others are compared with [default: this
one]. A swaying face of LR 32, in VP8 of 1 Mbit/s at 25 frames a second, is decoded, tracked, enhanced with three
exemplars, enlarged to 1280x720 and encoded as VP8: all threads of one stream but the network's. Each frame is sent once
the one before has left, so that the machine's load changes nothing of what is done (benchmarks/shared/lockstep.py).
Times are the threads' own of the processor, not the clock's. Functions are those of a run of its own under cProfile,
whose cost lies on Python's functions more than on OpenCV's; they are without those that they call.

--rungs: instead of trees, the rungs of the ladder that streams step down where the machine is short
(`hime_core/stream/ladder.py`), in this tree.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared import lockstep, relays
from benchmarks.shared.portrait import CLOSE_FRAMES
from benchmarks.shared.replay import portrait
from hime_core.stream.demand import REFERENCES
from hime_core.stream.ladder import LADDER, WHOLE

HERE = Path(__file__).resolve().parents[2]
TEN = 10
SETTLE = 25  # frames between the end of the walk and what is measured

Found = dict[str, Any]


def measured(tree: Path, clip: Path, frames: int, profiled: bool, rung: str = "") -> Found:
    """One run in a process of its own, with the library and the server of a tree."""
    how = "profile" if profiled else "plain"
    command = [sys.executable, "-P", lockstep.__file__, str(clip), how, *([rung] if rung else [])]
    done = subprocess.run(
        command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, stdout=subprocess.PIPE, check=True
    )
    found: Found = json.loads(done.stdout)
    if rung not in ("", WHOLE.name):
        return found
    if {name: count for name, count in found["outcomes"].items() if count} != {"enhanced": frames}:
        raise RuntimeError(f"of {frames} frames, {found['outcomes']}: all are to be enhanced")
    if found["exemplars"] != [REFERENCES]:
        raise RuntimeError(f"exemplars by face: {found['exemplars']}; one face is to have {REFERENCES}")
    return found


def revision(tree: Path) -> str:
    """Git's name of what is checked out in a tree, or the folder's."""
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or tree.name


def mean(runs: Sequence[Found], table: str) -> dict[str, float]:
    """Over runs, the largest first."""
    names = dict.fromkeys(name for run in runs for name in run[table])
    means = {name: float(np.mean([run[table].get(name, 0.0) for run in runs])) for name in names}
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def costliest(profile: Found, count: int) -> list[dict[str, Any]]:
    """Functions by their own time: ms and calls a frame."""
    rows = sorted(profile["functions"].items(), key=lambda item: -item[1][1])[:count]
    return [{"function": name, "calls": calls, "ms": ms} for name, (calls, ms) in rows]


def frames_of(width: int, frames: int) -> dict[str, Any]:
    """What `lockstep.call` plays: the face close twice, for three good exemplars, and walking away; then far."""
    clip = portrait(width, 1_000_000, close=True)
    far = [clip.frames[clip.index(clip.loop + number)] for number in range(SETTLE + frames)]
    before = [*clip.frames[:CLOSE_FRAMES], *clip.frames[: clip.loop], *far[:SETTLE]]
    return {"before": before, "frames": far[SETTLE:], "fps": clip.fps}


def of_trees(trees: Sequence[Path], width: int, rounds: int, frames: int) -> list[Found]:
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip"
        clip.write_bytes(pickle.dumps(frames_of(width, frames)))
        runs: list[list[Found]] = [[] for _ in trees]
        for _ in range(rounds):
            for tree, found in zip(trees, runs, strict=True):
                found.append(measured(tree, clip, frames, profiled=False))
        profiles = [measured(tree, clip, frames, profiled=True) for tree in trees]
    return [
        {
            "tree": revision(tree),
            "ms": sum(mean(found, "threads").values()),
            "rounds": [sum(run["threads"].values()) for run in found],
            "threads": mean(found, "threads"),
            "stages": mean(found, "stages"),
            "functions": costliest(profile, TEN),
        }
        for tree, found, profile in zip(trees, runs, profiles, strict=True)
    ]


def of_rungs(width: int, rounds: int, frames: int) -> list[Found]:
    """Each rung in turn, as often as there are rounds."""
    names = [rung.name for rung in LADDER]
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip"
        clip.write_bytes(pickle.dumps(frames_of(width, frames)))
        runs: list[list[Found]] = [[] for _ in names]
        for _ in range(rounds):
            for name, found in zip(names, runs, strict=True):
                found.append(measured(HERE, clip, frames, profiled=False, rung=name))
    return [
        {
            "tree": name,
            "ms": sum(mean(found, "threads").values()),
            "rounds": [sum(run["threads"].values()) for run in found],
            "threads": mean(found, "threads"),
            "stages": mean(found, "stages"),
            "functions": [],
        }
        for name, found in zip(names, runs, strict=True)
    ]


def show(width: int, found: Sequence[Found]) -> None:
    for one in found:
        share = one["ms"] / found[0]["ms"]
        rounds = ", ".join(f"{ms:.2f}" for ms in one["rounds"])
        print(
            f"{width}x{width * 9 // 16} {one['tree']}: {one['ms']:.2f} ms/frame ({rounds}), {share:.2f} of the first's"
        )
        print("  threads: " + ", ".join(f"{name} {ms:.2f}" for name, ms in one["threads"].items() if ms >= 0.005))
        print("  a frame: " + ", ".join(f"{name} {count:.2f}" for name, count in one["stages"].items()))
        for row in one["functions"]:
            print(f"  {row['ms']:6.2f} ms {row['calls']:7.2f} calls  {row['function']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path, metavar="TREE")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--frames", type=int, default=150, help="of each run")
    parser.add_argument("--widths", default="640,320")
    parser.add_argument("--rungs", action="store_true", help="of the ladder, instead of trees")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    trees = [tree.resolve() for tree in options.trees] or [HERE]
    for tree in trees:
        if not (tree / "hime_core").is_dir():
            parser.error(f"{tree}: it is to be a checkout of this repository, with a folder hime_core")
    if options.rungs and options.trees:
        parser.error("--rungs measures this tree alone: give no others")
    here, cases = relays.machine(), {}
    for width in map(int, options.widths.split(",")):
        if options.rungs:
            cases[width] = of_rungs(width, options.rounds, options.frames)
        else:
            cases[width] = of_trees(trees, width, options.rounds, options.frames)
        found = cases[width]
        show(width, found)
    if options.json:
        kept = {"rounds": options.rounds, "frames": options.frames, "widths": options.widths}
        options.json.write_text(json.dumps({"machine": here, "options": kept, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
