"""Lip sync through the relay: how far sound leads the picture, for flashes and bursts of one moment.

    python -m benchmarks.calls.lip_sync [--only passthrough,held] [--moments 10] [--json OUT]

Publisher, relay and watcher share one process; the enhanced views are those of the real enhancer, with an engine that
takes as long as the case says and a face that is always found. `arrival` is the lead as packets come to the watcher,
without a buffer of its own. It includes the 20 ms that a packet of sound takes to fill and the 6.5 ms that Opus looks
ahead. `reports` is the lead that remains where a watcher lines both streams up by their sender reports, as browsers do.
`clock` is the difference between a flash's time in those reports and the publisher's own time of it. Milliseconds;
positive: sound first. What may be is -125 to 45 (ITU-R BT.1359, EBU R37).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.shared.forwarder import forwarding
from benchmarks.shared.impaired import ImpairedPeer
from benchmarks.shared.lip_sync import EVERY, KeepingPeer, Offsets, Scene, offsets, publish, within
from benchmarks.shared.peers import FakeEnhancer, serving, until
from benchmarks.shared.stand_ins import OneFarFace, SlowEngine
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer

PASSTHROUGH, ENHANCED = "view=original&layout=native", "view=enhanced&layout=native"
HELD = 0.5  # seconds


def engine_of(seconds: float) -> Callable[[], Any]:
    return lambda: Enhancer(SlowEngine(seconds), OneFarFace(), People())


@dataclass(frozen=True)
class Case:
    """views: a watcher's each. audio_after: seconds that the sound begins later by. held: whether a video packet is
    held on its way to the relay, and what is sent to repair it lost; moments count from there."""

    name: str
    views: tuple[str, ...] = (PASSTHROUGH,)
    make: Callable[[], Any] = FakeEnhancer
    audio_after: float = 0.0
    held: bool = False


CASES = (
    Case("passthrough"),
    Case("engine0", (ENHANCED,), engine_of(0)),
    Case("engine60", (ENHANCED,), engine_of(0.06)),
    Case("engine200", (ENHANCED,), engine_of(0.2)),
    Case("views", (PASSTHROUGH, ENHANCED), lambda: FakeEnhancer(finish_seconds=0.12)),
    Case("audio1s", audio_after=1.0),
    Case("held", held=True),
)


async def measure(case: Case, moments: int = 10) -> list[Offsets]:
    """Of each watcher, for about so many moments after the first reports have come."""
    async with forwarding(seed=7) as forwarder, serving(case.make) as relay:
        scene, publisher = Scene(), ImpairedPeer(relay.http, forwarder)
        watchers = [KeepingPeer(relay.http) for _ in case.views]
        relay.peers += [publisher, *watchers]
        await publish(publisher, "/whip/r/ann", scene, case.audio_after)
        for watcher, view in zip(watchers, case.views, strict=True):
            await watcher.watch(f"/whep/r/ann?{view}")
        kept = [stream for watcher in watchers for stream in watcher.kept.values()]
        await until(lambda: all(one.reports for one in kept), 30, "reports of every stream")
        since = time.monotonic()
        if case.held:
            forwarder.up.refused = publisher.repairs
            forwarder.up.hold_next(HELD, publisher.video)
            await until(lambda: forwarder.up.counts["held"], what="a packet to hold")
            await asyncio.sleep(HELD)
            forwarder.up.refused = frozenset()
        await asyncio.sleep(moments * EVERY)
        return [offsets(watcher, scene, since) for watcher in watchers]


def figures(offsets: list[float]) -> dict[str, float]:
    """Milliseconds."""
    return {name: 1000 * of(offsets) for name, of in (("median", median), ("least", min), ("most", max))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of cases, commas between: " + ",".join(case.name for case in CASES))
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--json")
    options = parser.parse_args()
    known = {case.name: case for case in CASES}
    names = options.only.split(",") if options.only else list(known)
    if unknown := set(names) - set(known):
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
    kinds = ("arrival", "reports", "clock")
    print(f"{'case':>12}  {'view':>9}" + "".join(f"  {kind + ' (least..most)':>24}" for kind in kinds) + "  as wanted")
    results: dict[str, Any] = {}
    for name in names:
        for view, got in zip(known[name].views, asyncio.run(measure(known[name], options.moments)), strict=True):
            row = {kind: figures(getattr(got, kind)) for kind in kinds}
            wanted = within(median(got.arrival)) and all(map(within, got.reports))
            cells = (f"{one['median']:8.1f} ({one['least']:.1f}..{one['most']:.1f})" for one in row.values())
            shown = view.split("&")[0].removeprefix("view=")
            print(f"{name:>12}  {shown:>9}" + "".join(f"  {cell:>24}" for cell in cells), end="")
            print(f"  {'yes' if wanted else 'no':>9}", flush=True)
            results[f"{name} {shown}"] = {**row, "moments": len(got.arrival), "as_wanted": wanted}
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"options": vars(options), "cases": results}, file, indent=1)


if __name__ == "__main__":
    main()
