"""Glass to glass: from a camera's frame in one Chromium to the screen of another, by the time that is in the picture.

    python -m benchmarks.glass [--only "180p original,180p enhanced"] [--rounds 2] [--seconds 20] [--target MS]
        [--silent] [--window 1280x720] [--json OUT]

Directly from peer to peer, through a relay as aiortc's examples make it, and through this one, taking turns. `page` is
this one's own page at both ends, whose publisher sees themselves enhanced, so that the relay's figures have two views
in them; the others are pages that do nothing else. `unhurried` is a watcher who does not offer the playout-delay
extension, and so holds frames back as browsers do by themselves. Publisher and watcher are browsers of their own. The
camera is a track of frames that a page draws 20 times a second; each carries the time of its making in a strip of
blocks, which the watcher reads in requestVideoFrameCallback, where the browser says when that frame is shown. All is on
one machine with one clock. A far face is in every picture after five seconds of coming close and walking away, so that
there is something to enhance. `zoom` cuts the strip off then: its frames are known by their RTP timestamps.

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
from functools import partial
from typing import Any

from benchmarks.glass.browsers import Call, Direct, Ends, Pages, Plain, Relayed, ends
from benchmarks.glass.figures import Row, browsers, by_marks, by_timestamps, goals, means
from benchmarks.shared import relays
from benchmarks.shared.relays import counters, difference
from server.media.negotiation import PLAYOUT_DELAY

SETTLING = 9.0  # seconds: the walk, and bitrates that settle
SIZES = {"180p": 320, "360p": 640, "720p": 1280}
VIEWS = {
    "original": "view=original&layout=upscale",
    "enhanced": "view=enhanced&layout=upscale",
    "native original": "view=original&layout=native",
    "native enhanced": "view=enhanced&layout=native",
    "zoom original": "view=original&layout=zoom",
    "zoom enhanced": "view=enhanced&layout=zoom",
}


@dataclass(frozen=True)
class Case:
    """size: one of SIZES; way: direct, aiortc, one of VIEWS, or `page` or `unhurried` and a view."""

    size: str
    way: str

    @property
    def name(self) -> str:
        return f"{self.size} {self.way}"

    @property
    def relay(self) -> str | None:
        return {"direct": None, "aiortc": "aiortc"}.get(self.way, "hime")


UNHURRIED = "unhurried"
WAYS = (
    "direct",
    "aiortc",
    *VIEWS,
    *(f"{who} {view}" for who in ("page", UNHURRIED) for view in ("original", "enhanced")),
)
CASES = tuple(Case(size, way) for size in SIZES for way in WAYS)


def begin(both: Ends, case: Case, url: str, options: argparse.Namespace) -> Call:
    width = SIZES[case.size]
    plain = partial(Plain, both, width=width, target=options.target)
    match case.way.split():
        case ["direct"]:
            return plain(Direct(), sound=not options.silent, recvonly=False)
        case ["aiortc"]:  # its example relays the picture alone
            return plain(Relayed(url, "/whip/ann", "/whep/ann"), sound=False)
        case ["page", view]:
            return Pages(both, url, view, width)
    shown = options.window.split("x")[0]
    whep = f"/whep/glass/ann?{VIEWS[case.way.removeprefix(UNHURRIED).strip()]}&width={shown}"
    unsaid = PLAYOUT_DELAY if case.way.startswith(UNHURRIED) else ""
    return plain(Relayed(url, "/whip/glass/ann", whep, unsaid), sound=not options.silent)


def measure(both: Ends, case: Case, url: str, options: argparse.Namespace) -> Row:
    """A call from beginning to end, of which the last seconds count."""
    counts = case.relay == "hime"
    call = begin(both, case, url, options)
    try:
        time.sleep(SETTLING)
        early = call.frames()
        before, counted = call.stats(), counters(url) if counts else Counter[str]()
        began = time.monotonic()
        time.sleep(options.seconds)
        taken, seconds, after = call.frames(), time.monotonic() - began, call.stats()
        gained = difference(counters(url), counted) if counts else Counter[str]()
    finally:
        call.end()
    # While the face is close, `zoom` shows the whole picture.
    frames = by_timestamps(taken, early) if case.way.startswith("zoom") else by_marks(taken)
    return Row.of(frames, len(taken) - len(frames), seconds, gained, browsers(before, after))


COLUMNS = {  # by what heads them: a measure, or one of the browsers' statistics
    "p50": "p50", "p95": "p95", "sender": "sender", "relay": "relay", "receiver": "receiver", "judder": "judder",
    "shown/s": "shown_s", "unread": "unread", "width": "width", "jitter": "jitter_buffer", "decode": "decode",
    "encode": "encode", "A/V": "av_ms", "freezes": "freezes", "kbit/s": "kbit_s",
}  # fmt: skip


def show(ways: dict[str, dict[str, Any]]) -> None:
    print(f"{'ms':22}" + "".join(f"{head:>9}" for head in COLUMNS) + f"{'thirds':>21}")
    for name, way in ways.items():
        values = "".join(f"{(way | way['stats'])[key]:9.1f}" for key in COLUMNS.values())
        print(f"{name:22}{values}" + "".join(f"{third:7.0f}" for third in way["thirds"]))
        if way["stages"]:
            stages = ", ".join(f"{stage} {value:.1f}" for stage, value in sorted(way["stages"].items()))
            print(f"{'':24}relay, ms a frame or face: {stages}")
    for goal in goals(ways):
        print(f"{'met   ' if goal['met'] else 'missed'}  {goal['goal']}: {goal['value']:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of cases, or their beginnings, with commas between")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--target", type=float, help="the watcher's jitterBufferTarget, ms")
    parser.add_argument("--silent", action="store_true", help="without sound")
    parser.add_argument("--window", default="1280x720", help="the watcher's, CSS pixels")
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
        made = {
            "aiortc": lambda: relays.spawned(relays.plain_aiortc),
            "hime": lambda: relays.hime(options.weights, None),
        }
        wanted_relays = {case.relay for case in cases if case.relay}
        urls = {name: stack.enter_context(made[name]()).url for name in sorted(wanted_relays)}
        width, height = map(int, options.window.split("x"))
        both = stack.enter_context(ends((width, height)))
        for number in range(options.rounds):
            for case in cases:
                row = measure(both, case, urls.get(case.relay or "", ""), options)
                rows[case.name].append(row)
                print(
                    f"round {number + 1}: {case.name:20} {row.p50:7.1f} {row.p95:7.1f} ms", file=sys.stderr, flush=True
                )
    ways = {name: means(found) for name, found in rows.items()}
    show(ways)
    if options.json:
        found = {"machine": here, "options": vars(options), "ways": ways, "goals": goals(ways)}
        found["rounds"] = {name: [asdict(row) for row in all_] for name, all_ in rows.items()}
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
