"""Which photo is enhanced with which references."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hime_core.errors import InputError
from hime_core.training.dataset import read_identities

SEED = 2021


@dataclass(frozen=True)
class Item:
    """A target photo and its references, paths relative to the data folder."""

    target: str
    references: tuple[str, ...]


def draw_list(data: Path, references: int) -> tuple[list[Item], int]:
    """Every photo once, with `references` others of its person at random, from a fixed seed.

    Identities with too few photos are skipped; returns the items and how many were. Raises InputError when none
    remains.
    """
    rng = np.random.default_rng(SEED)
    items, skipped = [], 0
    for paths in read_identities(data).values():
        if len(paths) <= references:
            skipped += 1
            continue
        for path in paths:
            others = [p for p in paths if p != path]
            order = rng.permutation(len(others))
            chosen = tuple(str(others[i].relative_to(data)) for i in order[:references])
            items.append(Item(str(path.relative_to(data)), chosen))
    if not items:
        raise InputError(
            f"{data}: no identity has more than {references} photos; give a folder that has, or fewer --refs"
        )
    return items, skipped


def read_list(path: Path, data: Path, references: int) -> tuple[list[Item], int]:
    """LIST.json: [{"target": "id/000.jpg", "references": ["id/003.jpg", ...]}, ...], paths relative to data.

    Entries with too few references are skipped and counted. Raises InputError.
    """
    form = '[{"target": "id/000.jpg", "references": ["id/003.jpg", ...]}, ...]'
    try:
        entries = json.loads(path.read_text())
        items = [Item(str(e["target"]), tuple(map(str, e["references"]))) for e in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no evaluation list ({error}); it must be {form}") from error
    missing = next((p for i in items for p in (i.target, *i.references) if not (data / p).is_file()), None)
    if missing:
        raise InputError(f"{path} names {missing}, which is not below {data}")
    usable = [Item(i.target, i.references[:references]) for i in items if len(i.references) >= references]
    if not usable:
        raise InputError(f"{path}: no entry has {references} references; give a list that has, or fewer --refs")
    return usable, len(items) - len(usable)
