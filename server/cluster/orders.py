"""What the process that speaks to Ray is started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # which is not needed beyond the relay's own process
    from server.settings import Settings

DIRECTORY = "directory-1"  # the number grows when what is told changes


@dataclass(frozen=True)
class Orders:
    """address: of the Ray cluster, "auto" for that of this machine, "local" to start one; namespace: of the actors.
    engines: how many engines all nodes share; weights, device: theirs, as HIME_WEIGHTS and HIME_DEVICE."""

    address: str
    namespace: str
    engines: int = 0
    weights: str = "auto"
    device: str = "auto"

    @classmethod
    def of(cls, settings: Settings) -> Orders:
        return cls(
            settings.cluster_address,
            settings.cluster_namespace,
            settings.cluster_engines,
            settings.weights,
            settings.device,
        )

    @property
    def engine_names(self) -> tuple[str, ...]:
        return tuple(f"engine-1-{number}" for number in range(self.engines))
