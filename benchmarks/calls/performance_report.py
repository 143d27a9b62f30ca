"""docs/performance.md from the figures that the benchmarks wrote.

    python -m benchmarks.calls.performance_report FOLDER [--out docs/performance.md]

FOLDER holds what `--json` wrote: glass.json, latency.json, many_calls.json, cpu_per_frame.json, cpu_per_call.json,
impairments.json, lip_sync.json, soak.json, flicker.json, bench.json (of `hime bench`) and engine_load.json, or several
of a kind, as glass_1.json. What is absent is left out; every number comes from one of the files. A "note" added to a
file stands above its figures.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Found = dict[str, Any]

INTRODUCTION = """# Performance

Made by `python -m benchmarks.calls.performance_report FOLDER` from the figures that the benchmarks wrote into FOLDER;
each section names its command. Milliseconds depend on the machine; ratios and differences within one run are what
counts.
"""


@dataclass(frozen=True)
class Section:
    """files: how names begin; render: a file's figures as Markdown lines."""

    title: str
    files: str
    command: str
    text: str
    render: Callable[[Found], list[str]]


def number(value: Any, digits: int = 1) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], digits: int = 1) -> list[str]:
    cells = [[number(cell, digits) for cell in row] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *cells)] + [""]


def wanted(goals: Sequence[Found]) -> list[str]:
    rows = [[one["goal"], one["value"], one["met"]] for one in goals]
    return table(("goal", "measured", "met"), rows, 2) if rows else []


def latency(found: Found) -> list[str]:
    heads = ("way", "p50", "p95", "added p50", "added p95", "frames", "missing", "kbit/s", "enhanced/s", "dropped/s")
    keys = ("way", "p50", "p95", "added_p50", "added_p95", "frames", "missing", "kbit_s", "enhanced", "dropped")
    return [*table(heads, [[way.get(key) for key in keys] for way in found["ways"]]), *wanted(found["goals"])]


def glass(found: Found) -> list[str]:
    heads = ("way", "p50", "p95", "sender", "relay", "receiver", "judder", "shown/s", "thirds", "jitter buffer")
    heads += ("decode", "A/V", "compositing")
    keys = ("p50", "p95", "sender", "relay", "receiver", "judder", "shown_s")
    rows = []
    for name, way in found["ways"].items():
        stats, thirds = way["stats"], ", ".join(f"{one:.0f}" for one in way["thirds"])
        more = [thirds, stats["jitter_buffer"], stats["decode"], stats["av_ms"], way["stages"].get("composite")]
        rows.append([name, *(way[key] for key in keys), *more])
    return [*table(heads, rows), *wanted(found["goals"])]


def many_calls(found: Found) -> list[str]:
    heads = ("calls", "p50 ms", "p95 ms", "frames that came", "freezes/min", "relay's cores", "calls a core")
    keys = ("calls", "p50", "p95", "came", "freezes", "relay_cores", "calls_per_core")
    heads, keys = (*heads, "load's cores", "enhanced/s", "held"), (*keys, "load_cores", "enhanced", "held")
    lines = table(("view", "calls held", "a core"), [
        [name, f"{view['held']}{' or more' if view['all_steps_held'] else ''}", view["calls_per_core"]]
        for name, view in found["views"].items()
    ])  # fmt: skip
    for name, view in found["views"].items():
        lines += [f"{name}:", ""]
        lines += table(heads, [[step.get(key) for key in keys] for step in view["steps"]], 2)
    return lines


def cpu_per_frame(found: Found) -> list[str]:
    cases = found["cases"]
    rows = [[f"{c['codec']} {c['layout']}", c["relay"]["ms"], c["ffmpeg"]["ms"], c["ratio"]] for c in cases]
    lines = table(("case", "relay, ms/frame", "FFmpeg, ms/frame", "ratio"), rows, 2)
    names = list(dict.fromkeys(name for c in cases for name in c["relay"]["parts"]))
    lines += ["Where the relay's time goes, ms/frame by thread:", ""]
    parts = [[f"{c['codec']} {c['layout']}", *(c["relay"]["parts"].get(name) for name in names)] for c in cases]
    return [*lines, *table(("case", *names), parts, 2), *wanted(found["goals"])]


def cpu_per_call(found: Found) -> list[str]:
    """The trees side by side, and the functions of the last one, for each size."""
    rows, functions = [], []
    names = list(dict.fromkeys(name for trees in found["cases"].values() for one in trees for name in one["threads"]))
    for width, trees in found["cases"].items():
        size = f"{width}x{int(width) * 9 // 16}"
        for one in trees:
            threads = [one["threads"].get(name) for name in names]
            rows.append([size, one["tree"], one["ms"], one["ms"] / trees[0]["ms"], *threads])
        functions += [f"The costliest functions at {size} in {trees[-1]['tree']}:", ""]
        cells = [[f"`{row['function']}`", row["calls"], row["ms"]] for row in trees[-1]["functions"]]
        functions += table(("thread: function", "calls a frame", "ms a frame"), cells, 2)
    return [*table(("size", "tree", "ms/frame", "of the first's", *names), rows, 2), *functions]


def impairments(found: Found) -> list[str]:
    heads = ("scenario", "before ms", "during ms", "p95 ms", "after ms", "freezes", "a minute", "recovered ms", "met")
    keys = ("before", "during", "during_p95", "after", "freezes", "per_minute", "recovered")
    rows = []
    for name, scenario in found["scenarios"].items():
        outcome = scenario["outcome"]
        cells = ["never" if key == "recovered" and outcome[key] is None else outcome[key] for key in keys]
        rows.append([name, *cells, scenario["as_wanted"]])
    plain = found.get("options", {}).get("plain")
    title = "aiortc's own receiver in place of the relay:" if plain else "The relay:"
    return [title, "", *table(heads, rows)]


def lip_sync(found: Found) -> list[str]:
    """By arrival and by sender reports, ms; positive: sound leads."""

    def cell(one: dict[str, float]) -> str:
        return f"{one['median']:.1f} ({one['least']:.1f} to {one['most']:.1f})"

    rows = [[name, cell(c["arrival"]), cell(c["reports"]), c["as_wanted"]] for name, c in found["cases"].items()]
    return table(("case and view", "by arrival, ms", "by sender reports, ms", "met"), rows)


def soak(found: Found) -> list[str]:
    memory, age = found["memory_mib"], found["age_slope"]
    rows = [["minutes", found["options"]["minutes"]], ["resident memory at first, MiB", memory[0]]]
    rows += [["resident memory in the end, MiB", memory[-1]], ["slope of the frames' age, ms/min", age]]
    rows += [[f"frames {name}", count] for name, count in found["outcomes"].items()]
    slope = found["memory_slope"]
    goal = {"goal": "resident memory's slope after the first minute below 1 MiB/min", "value": slope, "met": slope < 1}
    return [*table(("", ""), rows), *wanted([goal])]


def flicker(found: Found) -> list[str]:
    heads = ("mean over the clips", "warp error", "ratio to bicubic", "gain dB", "gain kept", "freshly enhanced")
    keys = ("warp", "ratio", "gain", "kept", "enhanced")
    mean = found["mean"]
    lines = table(heads, [[name, *(row.get(key) for key in keys)] for name, row in mean.items()], 2)
    goals = []
    for name in ("all", "half"):
        ratio, kept = mean[name]["ratio"], mean[name]["kept"]
        goals.append({"goal": f"{name}: at most 1.1 times bicubic's warp error", "value": ratio, "met": ratio <= 1.1})
        goals.append({"goal": f"{name}: at least 0.8 of the single frame's gain", "value": kept, "met": kept >= 0.8})
    return [*lines, *wanted(goals)]


def bench(found: Found) -> list[str]:
    rows, goals = found["faces"], []
    names = list(rows[0]["ms_per_face"])
    body = [[row["lr"], row["refs"], row["batch"], *(row["ms_per_face"][name] for name in names)] for row in rows]
    lines = [f"{found['weights']}, {found['params']} parameters, {found['device']}; ms per face:", ""]
    lines += table(("LR", "references", "batch", *names), body)
    for row in rows:
        if row["lr"] == 32 and row["batch"] == 1:
            for name, least in (("torch", 1.4), ("torchvision", 2.0)):
                if ratio := row.get("ncnn_over", {}).get(name):
                    text = f"LR 32, {row['refs']} references: ncnn at least {least} times as fast as {name}"
                    goals.append({"goal": text, "value": ratio, "met": ratio >= least})
    return [*lines, *wanted(goals)]


def engine_load(found: Found) -> list[str]:
    lines = [f"{found['options']['weights']} on {found['options']['device']}."]
    if found["peak_tflops"]:
        lines = [
            lines[0][:-1]
            + f"; a matrix product in bfloat16 reaches {found['peak_tflops']:.0f} TFLOP/s; memory held at "
            f"most: {found['memory_mib']:.0f} MiB."
        ]
    share = [None if row["share"] is None else 100 * row["share"] for row in found["batches"]]
    body = [
        [row["lr"], row["refs"], row["batch"], row["ms"], round(row["faces_per_s"]), row["tflops"], part]
        for row, part in zip(found["batches"], share, strict=True)
    ]
    lines += ["", *table(("LR", "references", "batch", "ms", "faces/s", "TFLOP/s", "% of the card's"), body, 2)]
    heads = ("calls", "faces/s offered", "p50 ms", "p95 ms", "refused", "a batch")
    keys = ("calls", "offered_per_s", "p50", "p95", "refused", "batch")
    return [*lines, *table(heads, [[one[key] for key in keys] for one in found["loads"]], 2)]


SECTIONS = (
    Section(
        "Glass to glass", "glass", "python -m benchmarks.glass",
        "From a camera's frame in one Chromium to the screen of another, ms. Sender: until the watcher's browser has "
        "it, less what the relay counts as its own (a mean); receiver: from there to the screen. Judder: how unevenly "
        "frames follow each other, in the mean. Thirds: medians of the time's thirds. A/V: how far the picture is "
        "behind the sound, by getStats.", glass,
    ),
    Section(
        "Latency", "latency", "python -m benchmarks.calls.latency",
        "One way, from the publisher's RTP sender to the last packet of a frame at the watcher, ms; added: to the way "
        "without a relay. The passthrough view of a call with a far face in it.", latency,
    ),
    Section(
        "Many calls", "many_calls", "python -m benchmarks.calls.many_calls",
        "How many calls a machine holds, as `hime load` measures it ([how](load.md)). Held: of every call, p95 of "
        "one-way latency is at most 100 ms, and at least 95 % of the frames come through. `relay-cores`, `load-cores`: "
        "the processors that the relay and the load are kept to; without them they share all.", many_calls,
    ),
    Section(
        "Processor time per frame", "cpu_per_frame", "python -m benchmarks.calls.cpu_per_frame",
        "The whole relay without enhancement against FFmpeg: 360p VP8 in; decoded, scaled and encoded alike.",
        cpu_per_frame,
    ),
    Section(
        "Processor time per enhanced frame", "cpu_per_call", "python -m benchmarks.calls.cpu_per_call",
        "One enhanced call without its network: all threads from the decoder to the encoder, a face of LR 32 with "
        "three exemplars, shown at 1280x720. The threads' own processor time, whatever else runs; ms/frame by thread.",
        cpu_per_call,
    ),
    Section(
        "Bad networks", "impairments", "python -m benchmarks.calls.impairments",
        "Goals: latency afterwards within 10 ms of before; no freeze at 2 % loss, at most two a minute at 5 %.",
        impairments,
    ),
    Section(
        "Lip sync", "lip_sync", "python -m benchmarks.calls.lip_sync",
        "Sound against the picture at the watcher, median and range; positive: sound leads. Wanted: -125 to +45 ms.",
        lip_sync,
    ),
    Section("A long call", "soak", "python -m benchmarks.calls.soak", "", soak),
    Section("Steady pictures", "flicker", "python -m benchmarks.faces.flicker CLIPS", "Luma, grey levels.", flicker),
    Section("The network", "bench", "hime bench", "", bench),
    Section(
        "The engine under load", "engine_load", "python -m benchmarks.network.engine_load",
        "The network alone by batch, pictures as bytes in and out; then the whole engine, with calls of 15 faces of "
        "LR 32 a second each and three exemplars, doubled until p95 passes 60 ms or faces are refused.", engine_load,
    ),
)  # fmt: skip


def described(machine: Any) -> str:
    """What ran it; hime bench gives a name alone, and older figures nothing."""
    if not isinstance(machine, dict):
        return f" Machine: {machine}." if machine else ""
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    made = f" Machine: {machine['cpu']}, {machine['cores']} cores{gpu}, {machine['memory_gib']} GiB,"
    return f"{made} {machine['system']}; load before {machine['load']}; {versions}."


def command_of(section: Section, options: Found) -> str:
    """The command that repeats it; folders and files of this machine left out."""
    parts = [section.command]
    for name, value in options.items():
        if name in ("json", "folder", "pictures", "port", "clips") or value in (None, False, ""):
            continue
        # What was trained here lies somewhere on this machine: its name is enough.
        text = Path(value).name if isinstance(value, str) and "/" in value else str(value)
        parts.append(f"--{name.replace('_', '-')}" + ("" if value is True else f" {shlex.quote(text)}"))
    return " ".join([*parts, "--json OUT.json"])


def report(folder: Path) -> str:
    lines = [INTRODUCTION]
    for section in SECTIONS:
        # "bench" is the beginning of "benchmarks", "latency_cuda" of nothing else
        pattern = re.compile(rf"{section.files}([_-].*)?\.json")
        for number_, path in enumerate(sorted(p for p in folder.iterdir() if pattern.fullmatch(p.name))):
            try:
                found = json.loads(path.read_text())
                body = section.render(found)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
                print(f"{path.name} is left out, it is not what is known of it: {error!r}", file=sys.stderr)
                continue
            lines += [] if number_ else [f"## {section.title}", ""] + ([section.text, ""] if section.text else [])
            options = found.get("options", {})
            lines += [f"`{command_of(section, options)}`{described(found.get('machine'))}", ""]
            lines += [found["note"], ""] if found.get("note") else []
            lines += body
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("docs/performance.md"))
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is no folder: give the one that holds what the benchmarks wrote with --json")
    text = report(options.folder)
    if text == INTRODUCTION.rstrip() + "\n":
        parser.error(f"{options.folder} holds no figures: run a benchmark with --json {options.folder}/latency.json")
    partial = options.out.with_name(options.out.name + ".partial")
    partial.write_text(text)
    partial.replace(options.out)
    print(f"{options.out} has {text.count(chr(10) + '## ')} sections")


if __name__ == "__main__":
    main()
