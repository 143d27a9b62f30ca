"""An engine on Ray, that a relay's process asks through its link."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from hime_core.engine import build_engine
from server.cluster.link import ClusterAway, Link
from server.cluster.orders import Orders
from server.cluster.pool import PooledEngine
from tests.ray_head import ENVIRONMENT, ray_head
from tests.unit.test_engine import request

pytest.importorskip("ray")


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Orders]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with ray_head() as head:
        yield Orders(head, "test", engines=1, device="cpu")


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)


@pytest.mark.timeout(240)
def test_faces_come_back_as_from_an_engine_here_through_a_restart_of_the_link(orders: Orders) -> None:
    failures: list[str] = []
    link = Link(orders, lambda: failures.append("cluster"))
    pool = PooledEngine(link, orders.engine_names, 4, lambda: build_engine(device="cpu"), "test")
    here = build_engine(device="cpu")
    try:
        until(lambda: link.there)
        assert link.ask(orders.engine_names[0], "scale").result(90) == 4
        face = request(48, 2)
        expected = here.submit([face])[0].result(30)
        assert np.abs(pool.submit([face])[0].result(30).astype(int) - expected).max() <= 1
        assert link.ask(orders.engine_names[0], "held").result(10) == 2

        waiting = link.ask("engine-1-unknown", "scale")  # for which Ray has no processor left
        assert link._process is not None
        os.kill(link._process.pid, signal.SIGKILL)  # with something under way
        with pytest.raises(ClusterAway):
            waiting.result(30)
        until(lambda: link.incarnation == 2)
        assert failures == ["cluster"]
        # The actor has gone on, and has the exemplars; whether they are sent anew or not, the face is the same.
        assert np.abs(pool.submit([face])[0].result(30).astype(int) - expected).max() <= 1
        pool.forget([one.id for one in face.exemplars])
        until(lambda: link.ask(orders.engine_names[0], "held").result(10) == 0, 10)  # Ray keeps no order of calls
    finally:
        pool.close()
        here.close()
        link.close()
