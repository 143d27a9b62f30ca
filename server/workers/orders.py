"""What a worker process is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from server.settings import Settings

SECRET_HEADER = "X-HIME-Worker"


@dataclass(frozen=True)
class Orders:
    """socket: the Unix socket that it listens on; others: those of the other workers; engine: that of the engine
    process that it asks, None where it is to have an engine itself. secret: what the front and the others show it.
    first, step: the numbers of its streams. unix: what makes Unix seconds of the monotonic clock's, the same in all
    processes: a wall clock that is set anew would tell one that starts later of other seconds."""

    settings: Settings = field(repr=False)
    socket: Path
    others: tuple[Path, ...]
    engine: Path | None
    secret: str = field(repr=False)
    first: int
    step: int
    unix: float
