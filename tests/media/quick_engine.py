"""An engine process as `server.engines.process` is, whose network only enlarges: it takes no time to load."""

from __future__ import annotations

from hime_core.engine import BatchingEngine
from server.engines.orders import Orders
from server.engines.process import main
from server.engines.service import Told
from tests.unit.engine_world import Enlarging


def made(orders: Orders, told: Told) -> BatchingEngine:
    return BatchingEngine(Enlarging(), on_batch=told.batch, on_wait=told.wait)


if __name__ == "__main__":
    main(made)
