"""How the relay ends."""

from __future__ import annotations

from pydantic import BaseModel, Field


class LifecycleSettings(BaseModel):
    """Of the time between a signal and the end of the process."""

    drain_s: float = Field(30, ge=0, le=3600, description="how long calls go on after SIGTERM or SIGINT, at most")
