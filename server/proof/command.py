"""The body of `hime prove`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hime_core.compositing.layout import Layout
from hime_core.errors import InputError
from hime_core.evaluation.peers import COMPACT, Compact
from hime_core.evaluation.perceptual import ALEXNET, IDENTITY, LPIPS_HEADS, Identity, Lpips
from hime_core.evaluation.store import Record, Store, digest, write_json
from server.proof.plan import Cell, Matrix, Timing, estimate, find_clips, short

if TYPE_CHECKING:  # these bring packages that may be absent
    from server.proof.measure import Bench
    from server.proof.result import Result
    from server.proof.scene import Clip

PACKAGES = ("httpx", "matplotlib", "scipy")
# What the relay sends on is to cost no quality, so that the uplink is what is measured.
SENT_ON = {f"HIME_VIDEO_{which}_BITRATE": "4000000" for which in ("MIN", "START", "MAX")}


@dataclass(frozen=True)
class ProveOptions:
    """only: beginnings of clips' names, all when empty; exemplars: how many at most, for each a relay; critics: folder
    of the weights for LPIPS and identity; peers: folder of the peer's; moments: faces that are measured of a cell."""

    clips: Path
    out: Path
    only: tuple[str, ...] = ()
    matrix: Matrix = field(default_factory=Matrix)
    timing: Timing = field(default_factory=Timing)
    exemplars: tuple[int, ...] = (3, 1)
    layout: Layout = "upscale"
    weights: str = "auto"
    critics: Path | None = None
    peers: Path | None = None
    moments: int = 12
    short: bool = False


def prove(options: ProveOptions, as_json: bool = False) -> int:
    """The exit code: 1 where cells could not be measured. Each finished cell is a file in the folder, and the reports
    are written anew as clips are finished. Raises InputError."""
    _check(options)
    clips = find_clips(options.clips, options.only)
    matrix, timing = short(options.matrix, options.timing) if options.short else (options.matrix, options.timing)
    run = _Run(options, matrix, timing, list(matrix.cells(clips)))
    run.go()
    result = run.write()
    if as_json:
        print(json.dumps(result))
    else:
        print((options.out / "table.md").read_text())
    return 1 if run.missing else 0


def _check(options: ProveOptions) -> None:
    if absent := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise InputError(f"hime prove needs {', '.join(absent)}; pip install 'hime-relay[evaluation]'")
    if options.out.exists() and not options.out.is_dir():
        raise InputError(f"--out {options.out} is a file; give a folder")
    critics = (ALEXNET, LPIPS_HEADS, IDENTITY)
    for option, folder, names in (("--critics", options.critics, critics), ("--peers", options.peers, (COMPACT,))):
        if folder and (absent := [name for name in names if not (folder / name).is_file()]):
            raise InputError(f"{option} {folder}: it must hold {', '.join(names)}; {absent[0]} is not there")
    if not options.exemplars:
        raise InputError("--exemplars: give at least one number, such as 3")


def _digest_of(weights: str) -> str:
    """Of the checkpoint that a name stands for here: the name stays when it is trained anew."""
    from hime_core.engine import best_device, weights_for
    from hime_core.model.checkpoint import find_weights

    return digest(find_weights(weights_for(weights, best_device())))


class _Run:
    """left_out: clips that cannot serve, by what they cannot serve for; missing: cells that failed."""

    def __init__(self, options: ProveOptions, matrix: Matrix, timing: Timing, cells: Sequence[Cell]) -> None:
        self.left_out: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self._options, self._timing, self._cells = options, timing, cells
        self._store = Store(options.out / "cells")
        self._console = Console(stderr=True)
        self._weights = _digest_of(options.weights)
        self._digests = {clip: digest(clip) for clip in dict.fromkeys(cell.clip for cell in cells)}

    def go(self) -> None:
        """Measures what is not at hand."""
        open_cells = [cell for cell in self._cells if not self._kept(cell)]
        if not open_cells:
            return
        minutes = estimate(len(open_cells), len(self._options.exemplars), self._timing) / 60
        self._console.print(
            f"{len(open_cells)} of {len(self._cells)} cells to measure, about {minutes:.0f} minutes; what is finished "
            f"is kept in {self._options.out}, and the same command goes on from there",
            soft_wrap=True,
        )
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with ExitStack() as stack, Progress(*columns, console=self._console) as bar:
            task = bar.add_task("starting the relays", total=len(open_cells))
            for describe in self._measure(open_cells, stack):
                reading = describe.startswith("reading")
                bar.update(task, description=describe, advance=0 if reading else 1)
                if reading:  # what is told by now can be looked at
                    self.write()

    def write(self) -> Record:
        """The reports of all cells at hand; returns the contents of proof.json."""
        from server.proof.measure import PLAIN
        from server.proof.pictures import draw_curves, draw_sheet
        from server.proof.report import report
        from server.proof.summary import as_json, best_row, gather

        out = self._options.out
        kept = [(cell, result) for cell in self._cells if (result := self._kept(cell))]
        results = [result for _, result in kept]
        out.mkdir(parents=True, exist_ok=True)
        left_out, missing = list(self.left_out.values()), [f"{n}: {why}" for n, why in self.missing.items()]
        what = f"The relay runs {self._options.weights} and the layout is {self._options.layout}."
        (out / "table.md").write_text(report(results, self._timing, what, left_out, missing))
        found = {"inputs": self._inputs(), "left_out": left_out, "missing": missing, **as_json(results)}
        write_json(out / "proof.json", found)
        curves = gather(results)
        for size, own in sorted({(one.size, one.headshot is None) for one in curves}):
            same = [one for one in curves if (one.size, one.headshot is None) == (size, own)]
            draw_curves(same, out / f"curves-{size}{'-near-and-far' if own else ''}.png")
        for one in curves:
            rows = [
                (f"{cell.clip.stem}, {result['kbps']:.0f} kbit/s", self._store.folder / f"{cell.name}.png")
                for cell, result in kept
                if (cell.size, cell.headshot, cell.codec) == (one.size, one.headshot, one.codec)
            ]
            names = [*results[0]["figures"], "truth"]
            draw_sheet(rows, names, [PLAIN, best_row(results), "truth"], out / f"sheet-{one.name}.png")
        return found

    def _measure(self, cells: Sequence[Cell], stack: ExitStack) -> Iterator[str]:
        """Measures the cells one by one; yields what was done."""
        from server.proof.call import CallFailed
        from server.proof.scene import Clip, Unusable, read_clip

        bench = self._bench(stack)
        path, clip = None, None
        for cell in cells:
            try:
                if cell.clip != path:
                    yield f"reading {cell.clip.name}"
                    path, clip = cell.clip, None
                    clip = read_clip(cell.clip, self._timing)
                if isinstance(clip, Clip):
                    self._measure_cell(bench, cell, clip)
            except Unusable as error:
                self.left_out[f"{cell.clip.stem} {cell.size} {cell.headshot}"] = f"{error}, at {cell.size}"
            except CallFailed as error:
                self.missing[cell.name] = str(error)
                self._console.print(f"{cell.name}: {error}", soft_wrap=True)
            yield cell.name

    def _measure_cell(self, bench: Bench, cell: Cell, clip: Clip) -> None:
        self._store.get(cell.name, self._inputs(cell), lambda: dict(bench.measure(cell, clip)))

    def _bench(self, stack: ExitStack) -> Bench:
        import cv2
        import torch

        from hime_core.engine import best_device, weights_for
        from hime_core.evaluation.metrics import Meter
        from hime_core.model.hime import Hime
        from server.child import RelayFailed, RelayProcess
        from server.proof.measure import Bench

        o = self._options
        meter = Meter(Lpips(o.critics), Identity(o.critics)) if o.critics else Meter()
        peers = [Compact(o.peers / COMPACT)] if o.peers else []
        model = Hime.from_pretrained(weights_for(o.weights, best_device())).eval()
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        try:
            relays = {count: stack.enter_context(RelayProcess(self._settings(count))) for count in o.exemplars}
        except RelayFailed as error:
            raise InputError(str(error)) from error
        return Bench(relays, model, meter, peers, self._timing, o.layout, o.moments, self._store.folder)

    def _settings(self, references: int) -> dict[str, str]:
        return {"HIME_WEIGHTS": self._options.weights, "HIME_REFERENCES": str(references), **SENT_ON}

    def _inputs(self, cell: Cell | None = None) -> Record:
        """What a cell's figures depend on beside its name."""
        o = self._options
        shared: Record = {
            "timing": asdict(self._timing),
            "exemplars": list(o.exemplars),
            "layout": o.layout,
            "weights": [o.weights, self._weights],
            "critics": o.critics is not None,
            "peers": o.peers is not None,
            "moments": o.moments,
        }
        return shared | ({"clip": self._digests[cell.clip]} if cell else {})

    def _kept(self, cell: Cell) -> Result | None:
        kept = self._store.read(cell.name)
        result: Result | None = kept["figures"] if kept and kept["inputs"] == self._inputs(cell) else None
        return result
