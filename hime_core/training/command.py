"""`hime train`."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hime_core.errors import InputError
from hime_core.training.losses import LossWeights

if TYPE_CHECKING:
    from hime_core.model.hime import Hime
    from hime_core.training.critics import VggFeatures
    from hime_core.training.dataset import PairDataset

# Eq. 10 with the paper's lambdas. What a discriminator invents flickers from frame to frame: `call` has none.
RECIPES = {
    "rec": LossWeights(),
    "perceptual": LossWeights(rec=1.0, per=0.01, adv=0.1, cor=0.1),
    "call": LossWeights(rec=1.0, per=0.01, cor=0.1),
}
SCALES = (4, 8)
ENDLESS = 1 << 40  # samples; the trainer knows its end
FREE_TO_CHANGE = ("minutes", "iterations", "threads", "workers", "machine")  # when a run is resumed


@dataclass(frozen=True)
class TrainSettings:
    """What a training run is made of.

    data: <identity>/<photo> folder, CelebAMask-HQ, or packed file; clips: folder of videos beside it, without those
    named in exclude; out: folder of the run; losses: in place of the recipe's; init: a checkpoint to start from;
    teacher: a checkpoint to distil; mirrored: `HimeConfig.mirrored`; vgg, spynet: weight files; alignment,
    aggregation: the rows of Tables 2 and 3; flips: of Table 7; registered: whether references are laid over the LR
    picture first, as at runtime; batch, echoes, workers: None for what suits the device (`on_device`); critic_rate:
    the discriminator's, None for `rate`; critic: state.pt of another run, whose discriminator is gone on with;
    iterations: in place of minutes; varied, lr_sides: None for the recipe's (`PairOptions`).
    """

    data: Path
    out: Path
    recipe: str = "rec"
    variant: str = "small"
    scale: int = 4
    steps: int | None = None
    mirrored: bool = False
    minutes: float = 60.0
    resume: bool = False
    seed: int = 1
    threads: int | None = None
    rate: float = 5e-4
    losses: LossWeights | None = None
    init: str | None = None
    teacher: str | None = None
    vgg: Path | None = None
    spynet: Path | None = None
    clips: Path | None = None
    exclude: tuple[str, ...] = ()
    alignment: str | None = None
    aggregation: str | None = None
    flips: str = "even"
    registered: bool = True
    batch: int | None = None
    echoes: int | None = None
    workers: int | None = None
    critic_rate: float | None = None
    critic: Path | None = None
    iterations: int | None = None
    varied: float | None = None
    lr_sides: tuple[tuple[int, float], ...] | None = None


def parse_losses(text: str) -> LossWeights:
    """LossWeights from "rec=1,per=0.01,window=3"; what is not named is nothing. Raises InputError."""
    kinds = {field.name: int if field.name in ("window", "dilation") else float for field in fields(LossWeights)}
    found: dict[str, Any] = {"rec": 0.0}
    try:
        for part in text.split(","):
            name, value = part.split("=")
            found[name] = kinds[name](value)
        return LossWeights(**found)
    except (ValueError, KeyError) as error:
        raise InputError(f"--losses {text}: {error}; give some of {', '.join(kinds)}, as in rec=1,cor=0.1") from error


def parse_sides(text: str) -> tuple[tuple[int, float], ...]:
    """LR sizes and their shares from "32=0.9,64=0.1". Raises InputError."""
    try:
        found = tuple((int(side), float(share)) for side, share in (part.split("=") for part in text.split(",")))
        if not all(side >= 8 and 0 < share <= 1 for side, share in found):
            raise ValueError("sizes are at least 8 pixels, shares above 0 and at most 1")
        return found
    except ValueError as error:
        raise InputError(f"--sides {text}: {error}; give LR sizes and their shares, as in 32=0.9,64=0.1") from error


def train(settings: TrainSettings) -> None:
    """Trains into `settings.out`. Raises InputError with one clear line."""
    s = settings
    if s.recipe not in RECIPES:
        raise InputError(f"recipe {s.recipe!r} is not available; choose one of: {', '.join(RECIPES)}")
    if s.scale not in SCALES:
        raise InputError(f"scale {s.scale} is not available; choose one of: {', '.join(map(str, SCALES))}")
    if s.resume and not (s.out / "state.pt").exists():
        raise InputError(f"{s.out} holds no run to resume; leave --resume out to start one")
    if (s.out / "state.pt").exists() and not s.resume:
        raise InputError(f"{s.out} holds a run already; give --resume to go on with it, or another --out")
    import torch

    from hime_core.training import trainer
    from hime_core.training.card import write_card
    from hime_core.training.objective import Critics

    torch.manual_seed(s.seed)
    s = on_device(s, torch.cuda.is_available())
    assert s.workers is not None and s.echoes is not None
    losses = s.losses or RECIPES[s.recipe]
    model = build_model(s)
    pairs = build_pairs(s)
    critics = Critics(_vgg(s, losses), _checkpoint(s.teacher, s.scale), _known(s))
    _write_options(s, losses, pairs)
    options = trainer.TrainOptions(
        minutes=s.minutes, iterations=s.iterations, rate=s.rate, critic_rate=s.critic_rate, threads=s.threads,
        losses=losses, workers=s.workers, echoes=s.echoes,
    )  # fmt: skip
    job = trainer.Trainer(model, pairs, s.out, options, critics)
    if s.resume:
        job.resume()
    with Progress(
        TextColumn("step {task.fields[step]}"), BarColumn(), TextColumn("loss {task.fields[loss]:.5f}"),
        TimeRemainingColumn(),
    ) as bar:  # fmt: skip
        task = bar.add_task("train", total=1.0, step=job.step, loss=float("nan"))

        def report(progress: trainer.Progress) -> None:
            bar.update(task, completed=progress.done, step=progress.step, loss=progress.loss)

        # Ended by a signal, a run is saved and can be resumed.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            job.train(report)
    write_card(s.out, job.average, job.step, job.elapsed / 60)
    done = f"{job.step} steps, {job.elapsed / 60:.1f} minutes, {min(1.0, job.done):.0%} of the run"
    print(f"{s.out / 'weights.safetensors'}: {done}")


def on_device(s: TrainSettings, cuda: bool) -> TrainSettings:
    """What is not given: on a CPU the recipe's small batches of fresh pairs, made by one process; on a GPU large ones,
    of pairs that are used sixteen times, made by all cores but one."""
    workers = max(1, (os.cpu_count() or 2) - 1) if cuda else 1
    return replace(
        s,
        batch=s.batch or (64 if cuda else None),
        echoes=s.echoes or (16 if cuda else 1),
        workers=workers if s.workers is None else s.workers,
    )


def build_model(s: TrainSettings) -> Hime:
    """The network of the settings, begun from `init` where that fits: what it lacks starts anew. Raises InputError."""
    from hime_core.model.build import build

    chosen = {"steps": s.steps, "alignment": s.alignment, "aggregation": s.aggregation, "spynet": s.spynet}
    try:
        model = build(s.variant, s.scale, **{name: value for name, value in chosen.items() if value is not None})
    except ValueError as error:
        raise InputError(str(error)) from error
    model.config = replace(model.config, mirrored=s.mirrored)
    start = _checkpoint(s.init, s.scale)
    if start is not None:
        ours = model.state_dict()
        same = {k: v for k, v in start.state_dict().items() if k in ours and ours[k].shape == v.shape}
        if len(same) < len(ours) // 2:
            raise InputError(f"{s.init} has little in common with {s.variant}; start from a network that is alike")
        model.load_state_dict({**ours, **same})
    return model


def build_pairs(s: TrainSettings) -> PairDataset:
    from hime_core.training.dataset import PairDataset, PairOptions, parse_flips

    options = PairOptions.for_recipe(s.recipe, s.scale)
    options = replace(
        options,
        flips=parse_flips(s.flips),
        registered=s.registered,
        batch=options.batch if s.batch is None else s.batch,
        varied=options.varied if s.varied is None else s.varied,
        lr_sides=options.lr_sides if s.lr_sides is None else s.lr_sides,
    )
    if s.echoes and s.echoes > 1:  # where processors make no windows, whole pictures and more references cost little
        window = min(side for side, _ in options.lr_sides)
        options = replace(options, window=window, counts=(0.35, 0.3, 0.1, 0.25))
    return PairDataset(s.data, options, s.seed, ENDLESS, clips=s.clips, exclude=s.exclude, cache=s.out / "clips")


def _vgg(s: TrainSettings, losses: LossWeights) -> VggFeatures | None:
    from hime_core.training.critics import load_vgg

    return load_vgg(s.vgg) if losses.per else None


def _known(s: TrainSettings) -> dict[str, Any] | None:
    if s.critic is None:
        return None
    import pickle

    import torch

    try:
        known: dict[str, Any] = torch.load(s.critic, map_location="cpu", weights_only=True)["objective"]
    except (OSError, KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{s.critic} is no run's state ({error}); give RUN/state.pt of `hime train`") from error
    if not known:
        raise InputError(f"{s.critic} holds no discriminator; give the state of a run with adv among its --losses")
    return known


def _checkpoint(name: str | None, scale: int) -> Hime | None:
    from hime_core.model.hime import Hime

    if name is None:
        return None
    model = Hime.from_pretrained(name)
    if model.config.scale != scale:
        raise InputError(f"{name} is a checkpoint for x{model.config.scale}, not x{scale}")
    return model


def _write_options(s: TrainSettings, losses: LossWeights, pairs: PairDataset) -> None:
    """options.json; a run is resumed with what it was begun with. Raises InputError."""
    from hime_core.training.card import machine

    options = {name: value for name, value in asdict(s).items() if name not in ("out", "resume")}
    for name in ("data", "clips", "vgg", "spynet", "critic"):  # where they lie on this machine is nobody's business
        options[name] = options[name] and options[name].name
    for name in ("init", "teacher"):
        options[name] = options[name] and Path(options[name]).name
    options["losses"] = asdict(losses)
    options |= {"photos": len(pairs.photos), "people": len(pairs.people), "machine": machine()}
    options = json.loads(json.dumps(options))  # as what is read back
    path = s.out / "options.json"
    if s.resume and path.exists():
        before = json.loads(path.read_text())
        for name, value in options.items():
            if name not in FREE_TO_CHANGE and before.get(name, value) != value:
                raise InputError(f"{s.out} was begun with {name} {before[name]}, not {value}; resume it with the same")
    s.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(options, indent=1) + "\n")
