"""Glass to glass: from a camera's frame in one Chromium to the screen of another, by the time that is in the picture.

    python -m benchmarks.glass [--only "180p original,180p enhanced"] [--rounds 2] [--seconds 20] [--target MS]
        [--silent] [--window 1280x720] [--json OUT]

Directly from peer to peer, through a relay as aiortc's examples make it, and through this one, taking turns. Publisher
and watcher are browsers of their own. The camera is a track of frames that a page draws 20 times a second; each carries
the time of its making in a strip of blocks, which the watcher reads in requestVideoFrameCallback, where the browser
says when that frame is shown. All is on one machine with one clock. A far face is in every picture after five seconds
of coming close and walking away, so that there is something to enhance. `zoom` is not measured: it cuts the strip off.

`sender` is what passes until the watcher's browser has the frame, less what the relay counts as its own (from a frame's
last packet in to its packets out, `relay`); `receiver` is from there to the screen. They are medians, and need not add
up. `judder` is how far the time between two frames on the screen is from that between them at the camera, in the mean.
`thirds` are the medians of the time's three thirds: growth shows there. The rest is what getStats says.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.glass.browsers import Direct, Ends, Relayed, ends
from benchmarks.glass.figures import Frame, Row, browsers
from benchmarks.shared import relays
from benchmarks.shared.relays import counters, difference

SETTLING = 9.0  # seconds: the walk, and bitrates that settle
SIZES = {"180p": 320, "360p": 640, "720p": 1280}
VIEWS = {
    "original": "view=original&layout=upscale",
    "enhanced": "view=enhanced&layout=upscale",
    "native original": "view=original&layout=native",
    "native enhanced": "view=enhanced&layout=native",
}


@dataclass(frozen=True)
class Case:
    """size: one of SIZES; way: direct, aiortc, or one of VIEWS."""

    size: str
    way: str

    @property
    def name(self) -> str:
        return f"{self.size} {self.way}"


CASES = tuple(Case(size, way) for size in SIZES for way in ("direct", "aiortc", *VIEWS))


def measure(both: Ends, case: Case, urls: dict[str, str], options: argparse.Namespace) -> Row:
    """A call from beginning to end, of which the last seconds count."""
    url = urls.get("aiortc" if case.way == "aiortc" else "hime", "")
    shown = options.window[0]
    way = {
        "direct": Direct,
        "aiortc": lambda: Relayed(url, "/whip/ann", "/whep/ann"),
    }.get(case.way, lambda: Relayed(url, "/whip/glass/ann", f"/whep/glass/ann?{VIEWS[case.way]}&width={shown}"))()
    own = case.way in VIEWS
    sound = not options.silent and case.way != "aiortc"  # its example relays the picture alone
    both.begin(way, SIZES[case.size], sound, case.way != "direct", options.target)
    try:
        time.sleep(SETTLING)
        both.frames()
        before, counted = both.stats(), counters(url) if own else Counter[str]()
        begin = time.monotonic()
        time.sleep(options.seconds)
        taken, seconds, after = both.frames(), time.monotonic() - begin, both.stats()
        gained = difference(counters(url), counted) if own else Counter[str]()
    finally:
        both.end(way)
    frames = [Frame.of(*one) for one in taken["frames"]]
    return Row.of(frames, taken["unread"], seconds, gained, browsers(before, after))


COLUMNS = {  # by what heads them: a Row's field, or one of its statistics
    "p50": "p50", "p95": "p95", "sender": "sender", "relay": "relay", "receiver": "receiver", "judder": "judder",
    "shown/s": "shown_s", "unread": "unread", "width": "width", "jitter": "jitter_buffer", "decode": "decode",
    "encode": "encode", "A/V": "av_ms", "freezes": "freezes", "kbit/s": "kbit_s",
}  # fmt: skip


def show(rows: dict[str, list[Row]]) -> None:
    """Means over rounds."""
    print(f"{'ms':22}" + "".join(f"{head:>9}" for head in COLUMNS) + f"{'thirds':>21}")
    for name, found in rows.items():
        values = [np.mean([{**vars(row), **row.stats}[key] for row in found]) for key in COLUMNS.values()]
        thirds = np.mean([row.thirds for row in found], axis=0)
        print(
            f"{name:22}" + "".join(f"{value:9.1f}" for value in values) + "".join(f"{third:7.0f}" for third in thirds)
        )
        stages = sorted({key for row in found for key in row.stages})
        if stages:
            means = (f"{key} {np.mean([row.stages.get(key, 0) for row in found]):.1f}" for key in stages)
            print(f"{'':24}relay, ms a frame or face: {', '.join(means)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of cases, or their beginnings, with commas between")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--target", type=float, help="the watcher's jitterBufferTarget, ms")
    parser.add_argument("--silent", action="store_true", help="without sound")
    parser.add_argument("--window", default="1280x720", type=lambda text: tuple(map(int, text.split("x"))))
    parser.add_argument("--weights")
    parser.add_argument("--json")
    options = parser.parse_args()
    wanted = tuple(options.only.split(","))
    cases = [case for case in CASES if case.name in wanted or (not options.only)] or [
        case for case in CASES if case.name.startswith(wanted)
    ]
    if not cases:
        parser.error(f"--only {options.only}: no case is called so; there are {', '.join(case.name for case in CASES)}")
    here, rows = relays.machine(), {case.name: list[Row]() for case in cases}
    with ExitStack() as stack:
        urls: dict[str, str] = {}
        if any(case.way == "aiortc" for case in cases):
            urls["aiortc"] = stack.enter_context(relays.spawned(relays.plain_aiortc)).url
        if any(case.way in VIEWS for case in cases):
            urls["hime"] = stack.enter_context(relays.hime(options.weights, None)).url
        both = stack.enter_context(ends(sorted({SIZES[case.size] for case in cases}), options.window))
        for number in range(options.rounds):
            for case in cases:
                row = measure(both, case, urls, options)
                rows[case.name].append(row)
                print(
                    f"round {number + 1}: {case.name:20} {row.p50:7.1f} {row.p95:7.1f} ms", file=sys.stderr, flush=True
                )
    show(rows)
    if options.json:
        found: dict[str, Any] = {"machine": here, "options": vars(options)}
        found["cases"] = {name: [asdict(row) for row in all_] for name, all_ in rows.items()}
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
