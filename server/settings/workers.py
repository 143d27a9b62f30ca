"""Of how many processes the relay is."""

from __future__ import annotations

from pydantic import BaseModel, Field


class WorkerSettings(BaseModel):
    """More than one process uses more than a few cores: each carries whole participants, and loads the networks for
    itself. Limits hold for all of them together."""

    workers: int = Field(1, ge=1, le=64, description="processes that carry media; 1: all in one process")
    worker_memory_mb: int = Field(
        0,
        ge=0,
        description="resident MiB from which on a worker of several takes nobody new, and is replaced when it "
        "is empty; 0: no limit",
    )
