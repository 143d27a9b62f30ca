"""Figures as a table: CSV by RFC 4180."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any


def as_csv(points: Iterable[Mapping[str, Any]]) -> str:
    """A row for each point, under a header; a nested figure's column is named by its path, as in
    `stages.decode.p95`. What a point lacks is empty."""
    rows = [dict(_flat(point)) for point in points]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(value: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, Any]]:
    for name, each in value.items():
        if isinstance(each, Mapping):
            yield from _flat(each, f"{path}{name}.")
        else:
            yield f"{path}{name}", each
