"""An engine process whose network takes no time: `python -m benchmarks.shared.idle_engine`, as a Keeper starts it."""

from __future__ import annotations

import numpy as np

from hime_core.engine import BatchingEngine
from server.engines.orders import Orders
from server.engines.process import main
from server.engines.service import Told


class Nothing:
    """A backend that answers with black faces."""

    scale, max_batch, lanes, cutters = 4, 16, 1, 1

    def infer(self, lr: np.ndarray, references: np.ndarray) -> np.ndarray:
        side = self.scale * lr.shape[1]
        return np.zeros((len(lr), side, side, 3), np.uint8)


def made(orders: Orders, told: Told) -> BatchingEngine:
    return BatchingEngine(Nothing(), on_batch=told.batch, on_wait=told.wait)


if __name__ == "__main__":
    main(made)
