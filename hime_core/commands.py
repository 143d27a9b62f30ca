"""The bodies of the commands that need no server."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hime_core.compositing.layout import View, parse_layout
from hime_core.errors import InputError

if TYPE_CHECKING:
    from hime_core.evaluation.command import EvaluateOptions
    from hime_core.evaluation.tables import TableOptions
    from hime_core.exemplars.exemplar import Exemplar
    from hime_core.faces.detector import Detector


def enhance(
    source: Path, target: Path, *, exemplars: Path | None, layout: str, compare: bool, weights: str, as_json: bool
) -> None:
    from hime_core.engine import build_engine
    from hime_core.stream import files as offline

    arrangement = parse_layout(layout)
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is not a folder; give a path in one that exists")
    if target.is_dir():
        raise InputError(f"{target} is a folder; give a file, such as {target / 'out.mp4'}")
    if exemplars is not None and not exemplars.is_dir():
        raise InputError(f"{exemplars} is not a folder; --exemplars takes one that holds photos of the person")
    if source.resolve() == target.resolve():
        raise InputError("the output would overwrite the input; give another path")
    total = offline.frame_count(source)
    console = Console(stderr=True)
    engine = build_engine(weights)

    def photos(detector: Detector) -> list[Exemplar]:
        if exemplars is None:
            return []
        return offline.read_exemplars(
            exemplars, detector, lambda why: console.print(f"left out {why}", soft_wrap=True)
        )  # fmt: skip

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    view: View = "compare" if compare else "enhanced"
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("frames", total=total)
            outcomes = offline.enhance_file(
                source,
                target,
                engine,
                view=view,
                layout=arrangement,
                exemplars=photos,
                advance=lambda: bar.advance(task),
            )
    finally:
        engine.close()
    report = {"frames": sum(outcomes.values()), **outcomes}
    print(json.dumps(report) if as_json else ", ".join(f"{count} {name}" for name, count in report.items()))


def pack(
    data: Path,
    out: Path,
    mib: float,
    *,
    clips: Path | None,
    exclude: tuple[str, ...],
    cache: Path | None,
    as_json: bool,
) -> None:
    from hime_core.data.packing import pack as run

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        stages: dict[str, TaskID] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bar.add_task(stage, total=total)
            bar.update(stages[stage], completed=done)

        packed = run(data, out, mib, clips=clips, exclude=exclude, cache=cache, advance=advance)
    if as_json:
        print(json.dumps({**asdict(packed), "path": str(packed.path)}))
        return
    for name in packed.unreadable:
        print(f"left out {name}: not a readable photo")
    quality = f"WebP quality {packed.quality}" if packed.quality else "as they were"
    print(
        f"{packed.path}: {packed.shots} headshots of {packed.people} people, at most {packed.side} px, {quality}, "
        f"{packed.bytes / 2**20:.1f} MiB"
    )


def evaluate(options: EvaluateOptions, *, target: Path | None) -> None:
    from hime_core.evaluation.command import evaluate as run
    from hime_core.evaluation.command import summary
    from hime_core.evaluation.store import write_json

    check_folders(target, options.sheet)
    result = run(options)
    if target:
        write_json(target, result)
    print(summary(result))


def tables(table: str | None, options: TableOptions, *, report: Path | None, target: Path | None) -> None:
    from hime_core.evaluation.report import check_report, chosen, make_tables, render, write_report
    from hime_core.evaluation.store import write_json
    from hime_core.evaluation.table import from_dict

    check_folders(target, report)
    check_report(report)
    found = make_tables(chosen(table) if table else [], options)
    for made in found.values():
        print("\n".join(render(table) for table in from_dict(made)))
    if target:
        write_json(target, found)
    if report:
        write_report(report, options.runs)


def identity(
    data: Path,
    runs: Path,
    weights: str | None,
    train: Path | None,
    peers: Path | None,
    clips: Path | None,
    report: Path | None,
    target: Path | None,
) -> None:
    from hime_core.evaluation.identity import IdentityOptions, measure, render
    from hime_core.evaluation.report import NAME_OF_IDENTITY, check_report, write_report
    from hime_core.evaluation.store import write_json

    check_folders(target, report)
    check_report(report)
    if train and not weights:
        raise InputError("--identity with --train writes limits into a file: name it by --weights")
    options = IdentityOptions(data, runs, Path(weights) if weights else None, train, peers, clips)
    with Progress(TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("photos", total=None)
        found = measure(options, lambda what: bar.update(task, description=what))
    write_json(runs / f"{NAME_OF_IDENTITY}.json", found)
    print(render(found))
    if target:
        write_json(target, found)
    if report:
        write_report(report, runs)


def check_folders(*targets: Path | None) -> None:
    """Before long work, whether its results can be written. Raises InputError."""
    for target in targets:
        if target and not target.parent.is_dir():
            raise InputError(f"{target.parent} is not a folder; give a path in one that exists")
        if target and target.is_dir():
            raise InputError(f"{target} is a folder; give a file")


def bench(*, device: str | None, weights: str, target: Path | None) -> None:
    import torch

    from hime_core.evaluation import bench as measure
    from hime_core.evaluation.store import write_json

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: it must be cpu or cuda")
    if target and not target.parent.is_dir():
        raise InputError(f"{target.parent} is not a folder; give a path in one that exists")
    rows = []
    print(f"{'LR':>4}{'refs':>6}{'batch':>7}{'GMAC':>8}   ms per face (what the relay runs is so many times as fast)")
    for row in measure.bench(weights, device):
        rows.append(row)
        faster = {name: f" ({ratio:.2f})" for name, ratio in row.get("ncnn_over", {}).items() if name != "ncnn"}
        figures = "   ".join(f"{name} {ms:.1f}{faster.get(name, '')}" for name, ms in row["ms_per_face"].items())
        print(f"{row['lr']:4}{row['refs']:6}{row['batch']:7}{row['gmacs']:8.3f}   {figures}", flush=True)
    stages = measure.stages()
    print("beside the network, ms: " + ", ".join(f"{name} {ms:.1f}" for name, ms in stages.items()))
    if target:
        write_json(target, {**measure.machine(weights, device), "faces": rows, "stages_ms": stages})
