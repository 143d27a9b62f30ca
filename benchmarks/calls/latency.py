"""One-way latency without a relay, through plain aiortc and through this relay, taking turns in one run.

    python -m benchmarks.calls.latency [--rounds 2] [--seconds 3] [--weights NAME] [--device cpu|cuda] [--json OUT]

Publisher and watcher are processes that replay VP8 frames and count packets. Latency runs from a frame's way into the
publisher's RTP sender to the last of its packets at the watcher; frames are matched by RTP timestamp, which is a
constant apart on both sides, and the constant is checked on the numbers that keyframes show. A far face of LR 32 is in
every picture, so that the passthrough view, too, is that of a call in which faces are followed and enhanced.
`aiortc` decodes, relays by MediaRelay and encodes again, all as aiortc has it. The uplink of `enhanced` is 320x180,
shown at 1280x720; `original` is the same view with nothing enhanced in it. `360p at 60k` is a close face, headshot 150
px, at 60 kbit/s, after some seconds at 1 Mbit/s.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.shared import relays
from benchmarks.shared.light import LightProcess, latencies
from benchmarks.shared.relays import Running, counters, difference
from benchmarks.shared.replay import WALK, Clip, damaged, portrait

BELOW_AIORTC = 25.0  # ms
ENHANCED_P95, ENHANCED_P95_GPU = 80.0, 60.0  # ms
ENHANCED_RATE = 12.0  # frames/s
DAMAGED_P95, DAMAGED_RATE = 100.0, 8.0  # ms, frames/s
OUTCOMES = ("enhanced", "carried", "passed", "dropped")


@dataclass(frozen=True)
class Way:
    """One way from publisher to watcher. relay: none, aiortc or hime; query: of the WHEP request."""

    name: str
    clip: str
    relay: str
    query: str = ""


WAYS = (
    Way("360p direct", "360p", "none"),
    Way("360p aiortc", "360p", "aiortc"),
    Way("360p passthrough", "360p", "hime", "view=original&layout=native"),
    Way("720p direct", "720p", "none"),
    Way("720p aiortc", "720p", "aiortc"),
    Way("720p passthrough", "720p", "hime", "view=original&layout=native"),
    Way("180p direct", "180p", "none"),
    Way("180p original", "180p", "hime", "view=original&layout=upscale"),
    Way("180p enhanced", "180p", "hime", "view=enhanced&layout=upscale"),
    Way("360p at 60k original", "360p at 60k", "hime", "view=original&layout=upscale"),
    Way("360p at 60k enhanced", "360p at 60k", "hime", "view=enhanced&layout=upscale"),
)
ENHANCED_360P = Way("360p enhanced", "360p walking", "hime", "view=enhanced&layout=upscale")


@dataclass
class Figures:
    """Of one way, over all rounds. latency: seconds of each frame, None where it did not come."""

    latency: list[float | None] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)
    seconds: float = 0.0
    bytes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def row(self, way: Way) -> dict[str, Any]:
        came = 1000 * np.array([one for one in self.latency if one is not None] or [np.nan])
        rates = {name: self.outcomes[f"frames_total {name}"] / self.seconds for name in OUTCOMES}
        return {
            "way": way.name,
            "p50": float(np.percentile(came, 50)),
            "p95": float(np.percentile(came, 95)),
            "max": float(came.max()),
            "medians": self.medians,
            "frames": len(self.latency),
            "missing": sum(one is None for one in self.latency),
            "kbit_s": 8 * self.bytes / self.seconds / 1000,
            **({name: rate for name, rate in rates.items()} if way.relay == "hime" else {}),
        }


def clips(names: set[str]) -> dict[str, Clip]:
    made = {
        "180p": lambda: portrait(320, 500_000, close=True),
        "360p": lambda: portrait(640, 1_000_000),
        "360p at 60k": damaged,
        "360p walking": lambda: portrait(640, 1_000_000, close=True),
        "720p": lambda: portrait(1280, 2_000_000),
    }
    return {name: made[name]() for name in made if name in names}


def measure(
    way: Way, clip: Clip, publisher: LightProcess, watcher: LightProcess, relay: Running | None, seconds: float
) -> Figures:
    """A call from beginning to end, of which the last seconds count."""
    began = time.monotonic()
    if relay is None:
        answer = watcher.call("answer", way.name, publisher.call("offer", way.name, way.clip))
        publisher.call("accept", way.name, answer)
    else:
        room = "bench/ann" if way.relay == "hime" else "ann"
        publisher.call("publish", way.name, relay.url, f"/whip/{room}", way.clip)
        watcher.call("watch", way.name, relay.url, f"/whep/{room}?{way.query}")
    # A face that walks away is far after this; without a walk, bitrates settle.
    settled = max(1.5, began + clip.loop / clip.fps + 3 - time.monotonic()) if clip.loop >= WALK else 1.5
    time.sleep(settled)
    counts = Counter() if way.relay != "hime" else counters(relay.url)
    begin = time.monotonic()
    time.sleep(seconds)
    end = time.monotonic()
    gained = Counter() if way.relay != "hime" else difference(counters(relay.url), counts)
    watcher.call("ask_keyframe", way.name)  # shows that RTP timestamps are still the same constant apart
    time.sleep(0.7)
    sent, watched = publisher.call("sent", way.name), watcher.call("watched", way.name)
    watcher.call("leave", way.name)
    publisher.call("leave", way.name)
    found = latencies(clip, sent, watched, begin, end)
    median = 1000 * float(np.median([one for one in found if one is not None] or [np.nan]))
    return Figures(found, [median], end - begin, watched.size(begin, end), gained)


def goals(rows: dict[str, dict[str, Any]], cuda: bool) -> list[dict[str, Any]]:
    """What was wanted, what it is, and whether that is met."""

    def goal(text: str, value: float, met: bool) -> dict[str, Any]:
        return {"goal": text, "value": value, "met": bool(met)}

    found = []
    for size in ("360p", "720p"):
        if f"{size} aiortc" in rows and f"{size} passthrough" in rows:
            gain = rows[f"{size} aiortc"]["p50"] - rows[f"{size} passthrough"]["p50"]
            text = f"{size}: passthrough's median at least {BELOW_AIORTC:.0f} ms below plain aiortc's, ms"
            found.append(goal(text, gain, gain >= BELOW_AIORTC))
    name, most = ("360p enhanced", ENHANCED_P95_GPU) if cuda else ("180p enhanced", ENHANCED_P95)
    wanted = [(name, most, ENHANCED_RATE), ("360p at 60k enhanced", DAMAGED_P95, DAMAGED_RATE)]
    for name, most, least in [one for one in wanted if one[0] in rows]:
        row = rows[name]
        frames = row["frames"] - row["missing"]
        found.append(goal(f"{name}: p95 at most {most:.0f} ms, ms", row["p95"], row["p95"] <= most))
        rate = row["enhanced"]
        if cuda:
            share = rate / max(sum(row[one] for one in OUTCOMES), 1e-9)
            found.append(goal(f"{name}: all frames enhanced, share", share, share >= 1))
        else:
            text = f"{name}: at least {least:.0f} freshly enhanced frames/s"
            found.append(goal(text, rate, rate >= least))
        found.append(goal(f"{name}: every frame delivered, share", frames / row["frames"], not row["missing"]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3, help="of each way in each round")
    parser.add_argument("--only", default="", help="beginnings of the names of ways, with commas between")
    parser.add_argument("--weights")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json")
    options = parser.parse_args()
    ways = [*WAYS, ENHANCED_360P] if options.device == "cuda" else WAYS
    ways = [way for way in ways if way.name.startswith(tuple(options.only.split(",")))]
    if not ways:
        parser.error(f"--only {options.only}: no way begins so; there are {', '.join(way.name for way in WAYS)}")
    here, made = relays.machine(), clips({way.clip for way in ways})
    figures = {way.name: Figures() for way in ways}
    with (
        LightProcess(made) as publisher,
        LightProcess(made) as watcher,
        relays.spawned(relays.plain_aiortc) as plain,
        relays.hime(options.weights, options.device) as hime,
    ):
        for number in range(options.rounds):
            for way in ways:
                relay = {"none": None, "aiortc": plain, "hime": hime}[way.relay]
                one, all_ = measure(way, made[way.clip], publisher, watcher, relay, options.seconds), figures[way.name]
                all_.latency += one.latency
                all_.medians += one.medians
                all_.seconds += one.seconds
                all_.bytes += one.bytes
                all_.outcomes += one.outcomes
                print(f"round {number + 1}: {way.name:20} {one.medians[0]:7.1f} ms", file=sys.stderr, flush=True)
    rows = {way.name: figures[way.name].row(way) for way in ways}
    for row in rows.values():
        direct = rows.get(row["way"].split()[0] + " direct")
        row["added_p50"] = row["p50"] - direct["p50"] if direct else None
        row["added_p95"] = row["p95"] - direct["p95"] if direct else None
    show(rows)
    met = goals(rows, options.device == "cuda")
    for goal in met:
        print(f"{'met   ' if goal['met'] else 'missed'}  {goal['goal']}: {goal['value']:.2f}")
    if options.json:
        found = {"machine": here, "options": vars(options), "ways": list(rows.values()), "goals": met}
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


def show(rows: dict[str, dict[str, Any]]) -> None:
    print(f"{'ms, one way':20} {'p50':>7} {'p95':>7} {'max':>7}  {'added p50':>9} {'p95':>7}", end="")
    print(f"  {'missing':>8} {'kbit/s':>7}   " + " ".join(f"{name + '/s':>10}" for name in OUTCOMES))
    for row in rows.values():
        added = [float("nan") if row[key] is None else row[key] for key in ("added_p50", "added_p95")]
        print(f"{row['way']:20} {row['p50']:7.1f} {row['p95']:7.1f} {row['max']:7.1f}", end="")
        print(f"  {added[0]:9.1f} {added[1]:7.1f}  {row['missing']:3}/{row['frames']:4} {row['kbit_s']:7.0f}", end="")
        print("   " + " ".join(f"{row[name]:10.1f}" for name in OUTCOMES if name in row))


if __name__ == "__main__":
    main()
