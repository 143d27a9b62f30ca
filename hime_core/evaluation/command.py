"""The body of `hime evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

from rich.progress import track

from hime_core.errors import InputError
from hime_core.evaluation.evaluate import Evaluation
from hime_core.evaluation.lists import draw_list, read_list
from hime_core.model.checkpoint import load_weights

REFS = ("0", "1", "2", "3", "blank")


def evaluate(
    data: Path, scale: int, lr: int, refs: str, weights: str, list_file: Path | None, limit: int | None = None
) -> dict:
    """The contents of OUT.json. Raises InputError."""
    if refs not in REFS:
        raise InputError(f"--refs {refs}: it must be one of {', '.join(REFS)}")
    if not 8 <= lr <= 256:
        raise InputError(f"--lr {lr}: it must lie between 8 and 256")
    model = load_weights(weights)
    if model.config.scale != scale:
        raise InputError(f"{weights} is a checkpoint for x{model.config.scale}, not x{scale}; give --scale to match")
    count = int(refs) if refs != "blank" else 0
    items, skipped = read_list(list_file, data, count) if list_file else draw_list(data, count)
    evaluation = Evaluation(model, data, lr, refs if refs == "blank" else count)
    items = items[:limit]
    found = evaluation.run(track(items, description=f"{len(items)} photos", transient=True))
    return {**found, "weights": weights, "skipped": skipped}


def write(result: dict, path: Path) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    partial.replace(path)
