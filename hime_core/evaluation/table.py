"""A table of results: ours beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Cells = dict[str, float]


@dataclass(frozen=True)
class Row:
    """ours, paper: figures by column."""

    name: str
    ours: Mapping[str, float | None] = field(default_factory=dict)
    paper: Cells = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """columns: in their order; what: the first column's heading."""

    title: str
    what: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def as_dict(tables: Sequence[Table]) -> list[dict[str, Any]]:
    return [asdict(table) for table in tables]


def from_dict(tables: Sequence[dict[str, Any]]) -> list[Table]:
    """What `as_dict` made, read back."""
    return [Table(t["title"], t["what"], tuple(t["columns"]), tuple(Row(**row) for row in t["rows"])) for t in tables]
