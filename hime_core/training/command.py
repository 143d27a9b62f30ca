"""`hime train`."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hime_core.errors import InputError
from hime_core.model.hime import Hime, HimeConfig
from hime_core.training import trainer
from hime_core.training.dataset import PairDataset, PairOptions

RECIPES = ("rec",)
VARIANTS = ("small",)
SCALES = (4, 8)
ENDLESS = 1 << 40  # samples; the clock ends the training


def train(
    data: Path,
    run: Path,
    recipe: str = "rec",
    variant: str = "small",
    scale: int = 4,
    steps: int = 4,
    minutes: float = 60.0,
    resume: bool = False,
    seed: int = 1,
    threads: int | None = None,
) -> None:
    """Trains into `run`. Raises InputError with one clear line."""
    if recipe not in RECIPES:
        raise InputError(f"recipe {recipe!r} is not available; choose one of: {', '.join(RECIPES)}")
    if variant not in VARIANTS:
        raise InputError(f"variant {variant!r} is not available; choose one of: {', '.join(VARIANTS)}")
    if scale not in SCALES:
        raise InputError(f"scale {scale} is not available; choose one of: {', '.join(map(str, SCALES))}")
    if resume and not (run / "state.pt").exists():
        raise InputError(f"{run} holds no run to resume; leave --resume out to start one")
    if (run / "state.pt").exists() and not resume:
        raise InputError(f"{run} holds a run already; give --resume to go on with it, or another --out")
    import torch

    torch.manual_seed(seed)
    model = Hime(HimeConfig(scale=scale, steps=steps))
    pairs = PairDataset(data, PairOptions(scale=scale), seed, ENDLESS)
    options = {"data": data.name, "recipe": recipe, "variant": variant, "scale": scale, "steps": steps, "seed": seed,
               "photos": len(pairs.photos), "minutes": minutes}  # fmt: skip
    _write_options(run, options, resume)
    job = trainer.Trainer(model, pairs, run, trainer.TrainOptions(minutes=minutes, threads=threads))
    if resume:
        job.resume()
    with Progress(
        TextColumn("step {task.fields[step]}"), BarColumn(), TextColumn("loss {task.fields[loss]:.5f}"),
        TimeRemainingColumn(),
    ) as bar:  # fmt: skip
        task = bar.add_task("train", total=minutes, step=job.step, loss=float("nan"))

        def report(progress: trainer.Progress) -> None:
            bar.update(task, completed=progress.minutes, step=progress.step, loss=progress.loss)

        # Ended by a signal, a run is saved and can be resumed.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            job.train(report)
    print(f"{run / 'weights.safetensors'}: {job.step} steps, {job.elapsed / 60:.1f} of {minutes:g} minutes")


def _write_options(run: Path, options: dict, resume: bool) -> None:
    """options.json; a run is resumed with what it was begun with, but for the minutes. Raises InputError."""
    path = run / "options.json"
    if resume and path.exists():
        before = json.loads(path.read_text())
        for name, value in options.items():
            if name != "minutes" and before.get(name, value) != value:
                raise InputError(f"{run} was begun with {name} {before[name]}, not {value}; resume it with the same")
    run.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(options, indent=1) + "\n")
