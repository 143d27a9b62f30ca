"""Hostile input in quantity: whether anything crashes, hangs, leaks or costs the call beside it a frame.

    python -m benchmarks.hostile [--cases 100000] [--minutes 60] [--seed TEXT] [--json OUT]

Most cases go to the relay's parts in this process, by kind; some go over HTTP by schemathesis; the rest come from
attackers and strangers beside a call, in a relay of a process of its own. Cases differ from run to run unless --seed
is given, which is printed. Stops at --minutes, and says how many cases there were. Exits with 1 if anything was found.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.hostile.cases import KINDS, SHARES, bounded
from benchmarks.hostile.chance import spread
from benchmarks.hostile.http import check_all, served
from benchmarks.hostile.siege import Besieged, besieged
from benchmarks.shared.relays import machine

PARTS, HTTP = 0.6, 0.02  # shares of the cases; the siege gets the rest
OPERATIONS = 19  # of the OpenAPI document, about
PER_SECOND = 150  # cases that a siege sends, at least, on two cores
CALM = 20.0  # seconds
MOST_FAULTS = 20  # of a kind that are kept


def parts(cases: int, seed: str, end: float, faults: list[str]) -> Counter[str]:
    """Cases by kind; what went wrong is added to `faults`, with what makes it again."""
    counted: Counter[str] = Counter()
    for kind, share in SHARES.items():
        index, found = 0, 0
        while counted[kind] < share * cases and time.monotonic() < end and found < MOST_FAULTS:
            try:
                with bounded():
                    counted[kind] += KINDS[kind](spread(f"{seed} {kind}", index))
            except Exception:
                found += 1
                counted[kind] += 1
                faults.append(f'KINDS["{kind}"](spread("{seed} {kind}", {index})): {traceback.format_exc()}')
            index += 1
        print(f"{counted[kind]:7d} {kind}, {found} faults", flush=True)
    return counted


def over_http(cases: int, seed: str, faults: list[str]) -> Counter[str]:
    counted: Counter[str] = Counter()
    try:
        with tempfile.TemporaryDirectory() as data, served(Path(data)) as relay:
            each = max(5, cases // OPERATIONS)
            check_all(relay, each, lambda: counted.update(["HTTP requests"]), spread(seed, 0).getrandbits(32))
            faults += relay.errors
    except Exception:
        faults.append(f"HTTP, --seed {seed}: {traceback.format_exc()}")
    print(f"{counted['HTTP requests']:7d} HTTP requests, {len(faults)} faults so far", flush=True)
    return counted


def told(got: Besieged) -> dict[str, Any]:
    """A siege's figures."""
    assert got.before is not None and got.after is not None
    holds = ("memory", "blocks", "threads", "files", "tasks")
    return {
        "frames": got.frames,
        "lost": got.lost,
        "late_ms": {name: round(ms, 1) for name, ms in got.late_ms.items()},
        "seconds": round(got.end - got.begin),
        "before": {what: round(getattr(got.before, what), 1) for what in holds},
        "after": {what: round(getattr(got.after, what), 1) for what in holds},
        "growth": {what: round(got.growth(what), 1) for what in holds},
        "longest_stall_ms": round(1000 * max(one.stall for one in got.held)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--json")
    options = parser.parse_args()
    print(f"--seed {options.seed}", flush=True)
    warnings.simplefilter("ignore")  # Pillow's, of pictures that are then refused
    end, faults = time.monotonic() + 60 * options.minutes, list[str]()
    cases = parts(round(PARTS * options.cases), options.seed, end, faults)
    cases += over_http(round(HTTP * options.cases), options.seed, faults)
    left = options.cases - sum(cases.values())
    seconds = min(left / PER_SECOND, max(30.0, end - time.monotonic()))
    got = besieged(CALM, seconds, options.seed, say=lambda line: print(line, flush=True))
    cases += got.cases
    faults += got.errors
    figures = told(got)
    kinds = ", ".join(f"{kind} {count}" for kind, count in cases.most_common())
    print(f"{sum(cases.values())} cases: {kinds}")
    for name in got.frames:
        lost, frames = got.lost[name], got.frames[name]
        print(f"the call beside, {name}: {lost} of {frames} frames lost, 95 % came within {got.late_ms[name]:.0f} ms")
    for what in figures["before"]:
        before, after, growth = (figures[when][what] for when in ("before", "after", "growth"))
        print(f"{what}: {before} before, {after} after; from the siege's middle third to its last {growth:+}")
    print(f"the relay's event loop stood still for {figures['longest_stall_ms']} ms at most")
    print(f"{len(faults)} faults")
    for fault in faults[:MOST_FAULTS]:
        print(fault)
    if options.json:
        found = {"options": vars(options), "machine": machine(), "cases": cases, "siege": figures, "faults": faults}
        Path(options.json).write_text(json.dumps(found, indent=1))
    sys.exit(1 if faults or not got.alive else 0)


if __name__ == "__main__":
    main()
