"""The paper's tables, measured here: each a function from what there is to measure with to rows beside the paper's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from rich.progress import track

from hime_core.errors import InputError
from hime_core.evaluation import ablations, paper
from hime_core.evaluation.clips import NEAR, ClipEvaluation, LandmarksOnly, clips_in
from hime_core.evaluation.evaluate import Evaluation
from hime_core.evaluation.lists import MOST, Item, draw_list, native_sides, of_another, spread
from hime_core.evaluation.metrics import FIGURES, Meter
from hime_core.evaluation.peers import build_peers
from hime_core.evaluation.perceptual import Identity, Lpips
from hime_core.evaluation.store import Record, Store, digest
from hime_core.evaluation.table import Cells, Row, Table
from hime_core.exemplars.references import ReferenceCutter
from hime_core.faces.detector import MtcnnDetector
from hime_core.model.build import build
from hime_core.model.checkpoint import WEIGHTS, find_weights
from hime_core.model.count import multiply_accumulates, parameter_count
from hime_core.model.hime import Hime

SETTINGS = ((32, 4), (64, 4), (16, 8))
GAPS = (30, 60, 120)
COUNTS = {"0": "none (F_a = 0)", "blank": "one blank", "1": "one", "3": "three", "wrong": "three of another person"}
QUALITY = ("psnr", "ssim", "lpips")


@dataclass(frozen=True)
class TableOptions:
    """data: photos to evaluate on; runs: where figures and training runs are kept; train: photos to train ablations
    on, `iterations` steps each; clips: folder of videos, `only` those whose names begin so; lpips, peers: folders of
    weights; weights: one checkpoint in place of all that are shipped; limit: at most so many photos."""

    data: Path
    runs: Path
    train: Path | None = None
    clips: Path | None = None
    only: tuple[str, ...] = ()
    lpips: Path | None = None
    peers: Path | None = None
    weights: str | None = None
    limit: int | None = None
    iterations: int = 1000
    vgg: Path | None = None


class Tables:
    """Measures tables by name; see TABLES. Raises InputError."""

    def __init__(self, options: TableOptions) -> None:
        self.options = options
        self.store = Store(options.runs / "figures")
        self._runs = ablations.Runs(options.runs / "ablations", options.train, options.iterations, options.vgg)

    def make(self, name: str) -> list[Table]:
        return TABLES[name](self)

    def quality(self) -> list[Table]:
        """Table 1, at each of its settings, and beside it what our networks cost."""
        found = [self._costs()]
        for lr, scale in SETTINGS:
            checkpoints = self._checkpoints(scale)  # the peers are measured once, beside the first
            figures = {
                name: self.photos(name, lr, "3", peers=scale == 4 and name == checkpoints[0]) for name in checkpoints
            }
            rows = {}
            for name, row in figures.items():
                rows["bicubic"] = row["bicubic"]
                rows |= row.get("peers", {})
                label = _label(name).replace(f"-x{scale}", "")
                rows[label] = _cost_and_quality(row)
                if Hime.from_pretrained(name).config.mirrored:
                    rows[f"{label}, one pass"] = _cost_and_quality(self.photos(name, lr, "3", one_pass=True))
            printed = paper.TABLE_1[lr, scale]
            names = [*printed, *(name for name in rows if name not in printed)]
            columns = ("psnr", "ssim", "lpips", "psnr_inner", "identity", "ms_per_face", "params", "gmacs")
            listed = [Row(name, _millions(rows.get(name, {})), printed.get(name, {})) for name in names]
            found.append(Table(f"LR {lr}, ×{scale}, three references", "method", columns, tuple(listed)))
        return found

    def alignment(self) -> list[Table]:
        return [self._trained("references as they are, but for the last row", ablations.ALIGNMENT, paper.TABLE_2, True)]

    def aggregation(self) -> list[Table]:
        return [self._trained("aggregation", ablations.AGGREGATION, paper.TABLE_3, True)]

    def references(self) -> list[Table]:
        """Table 4, and what references give every checkpoint on the whole headshot and on the inner face."""
        at_8 = self._checkpoints(8)
        if at_8:
            found = {count: self.photos(at_8[0], 16, count) for count in COUNTS}
            title = f"{_label(at_8[0])}, LR 16"
        else:
            weights = self._runs.weights(ablations.BASE)
            found = {count: self.photos(str(weights), 16, count, "base") for count in COUNTS}
            title = f"LR 16, ×8, {self.options.iterations:,} steps of training"
        rows = [Row(COUNTS[count], _only(figures["model"], QUALITY), paper.TABLE_4.get(count, {}))
                for count, figures in found.items()]  # fmt: skip
        tables = [Table(title, "references", QUALITY, tuple(rows))]
        gains = []
        for name in [*self._checkpoints(4), *at_8]:
            for count, label in COUNTS.items():
                found = self.photos(name, 32 if "x4" in _label(name) else 16, count)
                gains.append(Row(f"{_label(name)}, {label}", {**_gains(found["model"], found["bicubic"])}))
        columns = ("psnr_gain", "psnr_inner_gain", "lpips", "identity")
        return [*tables, Table("Photos: gain over bicubic", "checkpoint, references", columns, tuple(gains))]

    def gaps(self) -> list[Table]:
        """Table 5, and what references give on clips."""
        tables, gains = [], []
        of_gains = ("psnr_gain", "psnr_inner_gain", "lpips", "identity")
        for name in self._checkpoints(4):
            means = self.clips(name)
            rows = [
                Row(f"{gap} frames" if gap != "blank" else "blank", means["gaps"][gap], paper.TABLE_5[gap])
                for gap in paper.TABLE_5
            ]
            rows.append(Row("bicubic", means["gaps"]["bicubic"]))
            columns = ("psnr", "ssim", "psnr_inner", "lpips", "identity")
            title = f"{_label(name)}, LR 32, mean of {means['clips']} clips"
            tables.append(Table(title, "references", columns, tuple(rows)))
            bicubic = means["counts"]["bicubic"]
            gains += [
                Row(f"{_label(name)}, {label}", _gains(means["counts"][count], bicubic))
                for count, label in COUNTS.items()
            ]
        return [*tables, Table("Clips: gain over bicubic", "checkpoint, references", of_gains, tuple(gains))]

    def losses(self) -> list[Table]:
        return [self._trained("losses", ablations.LOSSES, {})]

    def flips(self) -> list[Table]:
        return [self._trained("horizontal flips", ablations.FLIPS, paper.TABLE_7)]

    def windows(self) -> list[Table]:
        only = {f"k = {k}": run for k, run in ablations.COR_ONLY.items()}
        tuned = {f"k = {k}": run for k, run in ablations.COR_TUNED.items()}
        return [
            self._trained("(a) correlation loss only", only, {}),
            self._trained("(b) tuned with both losses, begun from the reconstruction loss", tuned, {}),
        ]

    def photos(self, weights: str, lr: int, refs: str, label: str = "", registered: bool = True,
               peers: bool = False, one_pass: bool = False) -> Record:  # fmt: skip
        """OUT.json's figures of one setting; one_pass: of a mirrored network without its second look."""
        peers = peers and self.options.peers is not None
        path = find_weights(weights)
        model = Hime.from_pretrained(weights)
        if one_pass:
            model.config = replace(model.config, mirrored=False)
        items = self._items(lr * model.config.scale)
        if refs == "wrong":
            items = of_another(items)
        count = {"blank": 0, "wrong": MOST}.get(refs, int(refs) if refs.isdigit() else 0)
        items = [Item(item.target, item.references[:count]) for item in items]
        inputs = self._inputs(path) | {"items": _digest(items), "lr": lr, "refs": refs, "registered": registered,
                                       "peers": peers, "one_pass": one_pass}  # fmt: skip

        def measure() -> Record:
            others = build_peers(self.options.peers, model.config.scale) if peers and self.options.peers else []
            evaluation = Evaluation(
                model, self.options.data, lr, int(refs) if refs.isdigit() else refs, self._meter, others, registered
            )
            return evaluation.run(track(items, description=f"{label or _label(weights)}, LR {lr}, refs {refs}"))

        name = f"{label or _label(weights)}-lr{lr}-refs-{refs}" + ("-one-pass" if one_pass else "")
        return self.store.get(name, inputs, measure)

    def clips(self, weights: str) -> Record:
        """{"clips": number, "gaps": {...}, "counts": {...}}: means over clips of figures by setting."""
        if self.options.clips is None:
            raise InputError("--table 5 is measured on clips; give --clips DIR, a folder of videos")
        paths = clips_in(self.options.clips, self.options.only)
        inputs = self._inputs(find_weights(weights)) | {"clips": [path.name for path in paths]}

        def measure() -> Record:
            evaluation = ClipEvaluation(Hime.from_pretrained(weights), 32, self._meter, self._detector)
            by_gap, by_count = [], []
            for path, other in track([*zip(paths, [*paths[1:], paths[0]], strict=True)], description=_label(weights)):
                by_gap.append(evaluation.gaps(path, GAPS)[0])
                by_count.append(evaluation.counts(path, other)[0])
            by_gap, by_count = self._with_faces(by_gap), self._with_faces(by_count)
            return {"clips": len(by_gap), "gaps": _mean(by_gap), "counts": _mean(by_count)}

        return self.store.get(f"{_label(weights)}-clips", inputs, measure)

    def _on_clips(self, run: ablations.Ablation, weights: Path) -> Cells:
        """What an ablation makes of a blank reference and of frames of the same clip, on clips at hand."""
        paths = clips_in(self.options.clips, self.options.only) if self.options.clips else []
        inputs = self._inputs(weights) | {"clips": [path.name for path in paths], "registered": run.registered}

        def measure() -> Record:
            model = Hime.from_pretrained(str(weights))
            cutter = (ReferenceCutter if run.registered else LandmarksOnly)(model.config.scale)
            evaluation = ClipEvaluation(model, ablations.LR_SIDE, Meter(), self._detector, cutter)
            found = [evaluation.gaps(path, (NEAR,))[0] for path in track(paths, description=f"{run.name}, clips")]
            means = _mean(self._with_faces(found))
            return {"clip_blank": means["blank"]["psnr"], "clip_psnr": means[str(NEAR)]["psnr"]}

        return self.store.get(f"{run.name}-clips", inputs, measure) if paths else {}

    def _with_faces(self, by_clip: list[Record]) -> list[Record]:
        """Figures of the clips that had any. Raises InputError."""
        found = [row for row in by_clip if row]
        if not found:
            raise InputError(f"{self.options.clips}: no clip shows a face of 128 pixels for {2 * GAPS[-1]} frames")
        return found

    def _trained(
        self, title: str, runs: dict[str, ablations.Ablation], printed: dict[str, Cells], on_clips: bool = False
    ) -> Table:
        """A table of ablations; on_clips: clips at hand too."""
        rows = []
        for name, run in runs.items():
            weights = self._runs.weights(run)
            found = self.photos(str(weights), ablations.LR_SIDE, "3", run.name, run.registered)
            ours = _only(found["model"], ("psnr", "ssim", "lpips", "psnr_inner"))
            ours |= self._on_clips(run, weights) if on_clips else {}
            rows.append(Row(name, ours, printed.get(name, {})))
        columns = (*QUALITY, "psnr_inner", "clip_blank", "clip_psnr")
        machines = ", ".join(sorted({self._runs.machine(run) for run in runs.values()} - {""}))
        trained = f"{self._runs.iterations:,} steps of {ablations.BATCH} pairs each"
        trained += f" on {machines}" if machines else ""
        return Table(f"LR 16, ×8, {trained}: {title}", "run", columns, tuple(rows))

    def _costs(self) -> Table:
        rows = []
        for lr, scale in SETTINGS:
            for variant in ("small", "large"):
                model = build(variant, scale)
                ours = {"params": parameter_count(model) / 1e6, "gmacs": multiply_accumulates(model, lr, 3)}
                printed = paper.TABLE_1[lr, scale][f"{variant}-rec"]
                rows.append(Row(f"{variant}, LR {lr}, ×{scale}", ours, _only(printed, ("params", "gmacs"))))
        return Table("What the networks cost, as built", "network", ("params", "gmacs"), tuple(rows))

    def _items(self, side: int) -> list[Item]:
        """The fixed list, without photos that were enlarged to the truth's size where a manifest tells."""
        native = native_sides(self.options.data)
        items = [item for item in draw_list(self.options.data, MOST)[0] if native.get(item.target, side) >= side]
        if not items:
            raise InputError(f"{self.options.data}: no photo has {side} pixels of its own; smaller tables may have")
        return spread(items, self.options.limit)

    def _checkpoints(self, scale: int) -> list[str]:
        given = self.options.weights
        names = [given] if given else sorted((p.stem for p in WEIGHTS.glob("*.safetensors")), key=_order)
        return [name for name in names if Hime.from_pretrained(name).config.scale == scale]

    def _inputs(self, weights: Path) -> Record:
        o = self.options
        return {"weights": digest(weights), "data": where(o.data), "lpips": bool(o.lpips), "identity": bool(o.peers)}

    @cached_property
    def _meter(self) -> Meter:
        o = self.options
        return Meter(Lpips(o.lpips) if o.lpips else None, Identity(o.peers) if o.peers else None)

    @cached_property
    def _detector(self) -> MtcnnDetector:
        return MtcnnDetector()


# What `--table` takes, and who makes it.
TABLES: dict[str, Callable[[Tables], list[Table]]] = {
    "1": Tables.quality,
    "2": Tables.alignment,
    "3": Tables.aggregation,
    "4": Tables.references,
    "5": Tables.gaps,
    "6": Tables.losses,
    "7": Tables.flips,
    "8": Tables.windows,
}


def where(data: Path) -> str:
    """The end of a path: what the rest is like is nobody's business."""
    return "/".join(data.resolve().parts[-2:])


def _label(weights: str) -> str:
    path = Path(weights)
    if path.suffix != ".safetensors":
        return weights
    return path.parent.name if path.stem == "weights" else path.stem


def _order(name: str) -> tuple[bool, bool, str]:
    """small first, rec before the rest."""
    return not name.startswith("small"), not name.endswith("rec"), name


def _digest(items: list[Item]) -> str:
    return hashlib.sha256(repr([(i.target, i.references) for i in items]).encode()).hexdigest()[:16]


def _only(figures: Record, names: Sequence[str]) -> Record:
    return {name: figures[name] for name in names if name in figures}


def _cost_and_quality(figures: Record) -> Record:
    quality: Record = figures["model"]
    return quality | _only(figures, ("params", "gmacs", "ms_per_face"))


def _millions(figures: Record) -> Record:
    return figures | {"params": figures["params"] / 1e6} if figures.get("params") else figures


def _gains(model: Record, bicubic: Record) -> Record:
    return {f"{name}_gain": model[name] - bicubic[name] for name in ("psnr", "psnr_inner")} | _only(
        model, ("lpips", "identity")
    )


def _mean(rows: list[Record]) -> dict[str, Record]:
    """Means over clips of figures by setting."""
    return {
        setting: {
            name: None if rows[0][setting][name] is None else float(np.mean([row[setting][name] for row in rows]))
            for name in FIGURES
        }
        for setting in rows[0]
    }
