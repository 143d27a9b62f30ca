"""The engine itself, as the settings have it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from hime_core import engine as engines
from server.settings import Settings

log = logging.getLogger(__name__)


def load_engine(
    settings: Settings,
    on_batch: Callable[[int, float], None],
    on_wait: Callable[[float], None],
    on_failure: Callable[[], None] = lambda: None,
) -> engines.BatchingEngine:
    """On the device that is set; where any may be taken, on the best there is, or the CPU when that one fails.

    on_batch, on_wait: as BatchingEngine has them; on_failure: told when a graphics card could not be used. Raises what
    building it raises.
    """
    device = engines.best_device() if settings.device == "auto" else settings.device
    try:
        return engines.build_engine(settings.weights, device, on_batch, on_wait)
    except Exception:
        if settings.device != "auto" or device == "cpu":
            raise
        log.exception("the graphics card cannot be used, faces are enhanced on the CPU")
        on_failure()
        return engines.build_engine(settings.weights, "cpu", on_batch, on_wait)


def on_cpu(settings: Settings) -> Settings:
    return settings.model_copy(update={"device": "cpu"})
