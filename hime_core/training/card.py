"""The model card of a run: what it was trained on, how, for how long and where. Its figures are added by hand."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch

from hime_core.model.count import multiply_accumulates, parameter_count
from hime_core.model.hime import Hime

LR_SIDE = {4: 32, 8: 16}


def write_card(run: Path, model: Hime, steps: int, minutes: float) -> None:
    """RUN/card.md, from RUN/options.json."""
    options = json.loads((run / "options.json").read_text())
    config, side = model.config, LR_SIDE[model.config.scale]
    costs = ", ".join(f"{multiply_accumulates(model, side, n):.3f} with {n}" for n in (1, 3))
    counted = {name: value for name, value in options["losses"].items() if name != "teacher" or options["teacher"]}
    losses = ", ".join(f"{name} {value:g}" for name, value in counted.items() if value)
    kept = ("alignment", "aggregation", "steps", "width", "lr_blocks", "hr_blocks", "reconstruction_blocks", "groups",
            "mirrored")  # fmt: skip
    rows = {
        "network": ", ".join(f"{name} {getattr(config, name)}" for name in kept),
        "size": f"{parameter_count(model) / 1e6:.3f} M parameters; GMAC per face at LR {side}: {costs} references",
        "loss": losses,
        "data": f"{options['people']} people, {options['photos']} headshots of photos and clips",
        "begun from": options["init"] or "nothing",
        "teacher": options["teacher"] or "none",
        "seed, length": f"{options['seed']}; {steps} steps in {minutes:.1f} minutes on {options['machine']}, "
        f"{torch.get_num_threads()} threads",
        "command": f"`{_command(options)}`",
    }
    name = f"{options['variant']}-x{config.scale}-{options['recipe']}"
    lines = [f"# {name}", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    (run / "card.md").write_text("\n".join(lines) + "\n")


def machine() -> str:
    """The graphics card, or the kind of processor."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()


def _command(options: dict[str, Any]) -> str:
    """The command line that began the run, without what is its default."""
    parts = ["hime train", f"--data {options['data']}", "--out RUN"]
    for name in ("recipe", "variant", "scale", "steps", "minutes", "iterations", "init", "teacher", "clips",
                 "vgg", "spynet", "alignment", "aggregation", "flips", "rate", "seed", "threads", "batch", "echoes",
                 "critic_rate", "critic", "varied"):  # fmt: skip
        if options.get(name) is not None:
            parts.append(f"--{name.replace('_', '-')} {options[name]}")
    parts.append("--losses " + ",".join(f"{name}={value:g}" for name, value in options["losses"].items()))
    if options["lr_sides"]:
        parts.append("--sides " + ",".join(f"{side}={share:g}" for side, share in options["lr_sides"]))
    if options["exclude"]:
        parts.append("--exclude " + ",".join(options["exclude"]))
    if options["mirrored"]:
        parts.append("--mirrored")
    if not options["registered"]:
        parts.append("--no-registered")
    return " ".join(parts)
