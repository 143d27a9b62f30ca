"""The engine itself, as the settings have it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from hime_core import engine as engines

WARM_UP = 30.0  # seconds in which a graphics card records batches' shapes before the first call

log = logging.getLogger(__name__)


def load_engine(
    weights: str,
    device: str,
    on_batch: Callable[[int, float], None],
    on_wait: Callable[[float], None],
    on_failure: Callable[[], None] = lambda: None,
) -> engines.BatchingEngine:
    """On that device; where any may be taken ("auto"), on the best there is, or the CPU when that one fails.

    weights: as build_engine has them; on_batch, on_wait: as BatchingEngine has them; on_failure: told when a graphics
    card could not be used. Raises what building it raises.
    """
    taken = engines.best_device() if device == "auto" else device
    try:
        return engines.build_engine(weights, taken, on_batch, on_wait, WARM_UP)
    except Exception:
        if device != "auto" or taken == "cpu":
            raise
        log.exception("the graphics card cannot be used, faces are enhanced on the CPU")
        on_failure()
        return engines.build_engine(weights, "cpu", on_batch, on_wait, WARM_UP)
