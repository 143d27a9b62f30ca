"""Which photo is enhanced with which references."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hime_core.errors import InputError
from hime_core.training.dataset import read_identities

SEED = 2021
MOST = 3  # references that a list is drawn with


@dataclass(frozen=True)
class Item:
    """A target photo and its references, paths relative to the data folder."""

    target: str
    references: tuple[str, ...]

    @property
    def person(self) -> str:
        return Path(self.target).parts[0]


def draw_list(data: Path, references: int) -> tuple[list[Item], int]:
    """Every photo once, with `references` others of its person at random, from a fixed seed.

    The targets are the same for 0 to 3 references, and fewer references are the first of more: identities with up to
    three photos are skipped even where fewer would do, unless there are no others. Returns the items, and how many
    identities were skipped. Raises InputError when none remains.
    """
    identities = read_identities(data)
    least = max(references, MOST)
    if all(len(paths) <= least for paths in identities.values()):
        least = references
    rng = np.random.default_rng(SEED)
    items, skipped = [], 0
    for paths in identities.values():
        if len(paths) <= least:
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


def of_another(items: list[Item]) -> list[Item]:
    """The same targets, each with the references of an item of another person, at random from a fixed seed.

    Raises InputError when there is one person only.
    """
    rng = np.random.default_rng(SEED)
    found = []
    for item in items:
        others = [other for other in items if other.person != item.person]
        if not others:
            raise InputError(f"--refs wrong: all photos are of {item.person}; it takes at least two identities")
        found.append(replace(item, references=others[rng.integers(len(others))].references))
    return found


def spread(items: list[Item], limit: int | None) -> list[Item]:
    """At most `limit` items, evenly over the list and so over the people."""
    if limit is None or limit >= len(items):
        return items
    return [items[i * len(items) // limit] for i in range(limit)]


def native_sides(data: Path) -> dict[str, int]:
    """Sides at which the headshots were photographed, by target, from manifest.csv (columns file, native_px) in `data`
    or above it; empty without one."""
    path = next((p for p in (data / "manifest.csv", data.parent / "manifest.csv") if p.is_file()), None)
    if path is None:
        return {}
    found = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            try:
                relative = (path.parent / row["file"]).relative_to(data)
            except ValueError:  # of another split
                continue
            except (KeyError, TypeError) as error:
                raise InputError(f"{path} must have the columns file and native_px") from error
            found[str(relative)] = int(row["native_px"])
    return found
