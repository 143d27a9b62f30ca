"""Of how many processes the relay is."""

from __future__ import annotations

import sys
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from server.settings.processors import cores

CORES_EACH = 4  # that one process comes to use, as Python runs one thread's code at a time
MOST = 64


class WorkerSettings(BaseModel):
    """More than one process uses more than a few cores: each carries whole participants, and loads the networks for
    itself. Limits hold for all of them together."""

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=MOST)] = Field(
        "auto",
        description="processes that carry media; 1: all in one process; auto: one for every four processor cores",
    )
    worker_memory_mb: int = Field(
        0,
        ge=0,
        description="resident MiB from which on a worker of several takes nobody new, and is replaced when it "
        "is empty; 0: no limit",
    )
    engine: Literal["auto", "process", "worker"] = Field(
        "auto",
        description="where faces are enhanced: in a process of its own, one for each graphics card, that all workers "
        "ask, or in each worker; auto: in a process where there are several workers and a graphics card",
    )

    @model_validator(mode="after")
    def _processes_where_there_can_be_some(self) -> Self:
        if self.engine == "process" and not sys.platform.startswith("linux"):
            raise ValueError("HIME_ENGINE: engine processes need Linux: give worker, or leave it at auto")
        return self

    def workers_for(self, ports: int) -> int:
        """How many there are. ports: UDP ports, of which each needs one; 0 where any may be taken."""
        if self.workers != "auto":
            return self.workers
        if not sys.platform.startswith("linux"):
            return 1
        return max(1, min(int(cores() / CORES_EACH), MOST, ports or MOST))
