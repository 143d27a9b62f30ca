"""What an engine process is started with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Orders:
    """Of the settings, those that it needs: keys and addresses are none of its business. As `Settings` has them."""

    weights: str
    device: str
    log_level: str

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> Orders:
        return cls(**json.loads(line))
