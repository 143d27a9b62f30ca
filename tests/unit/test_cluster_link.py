"""A link where there is no Ray."""

from __future__ import annotations

import queue
import subprocess
import threading
from typing import NoReturn

import pytest

from server.cluster import link as module
from server.cluster.link import WAITING, ClusterAway, Link
from server.cluster.orders import Orders


def test_a_process_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, twice = list[str](), threading.Event()

    def no_memory(*args: object, **options: object) -> NoReturn:
        tried.append("process")
        if len(tried) > 1:
            twice.set()
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", no_memory)
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    failures: list[str] = []
    link = Link(Orders("auto", "test"), lambda: failures.append("cluster"))
    try:
        assert twice.wait(10)
        assert failures
        with pytest.raises(ClusterAway):
            link.ask("directory", "beat").result(1)
    finally:
        link.close()


def test_what_nobody_waits_for_any_longer_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor that Ray has no place for answers nothing, however long it is asked."""
    monkeypatch.setattr(Link, "_keep", lambda link: None)
    link = Link(Orders("auto", "test"))
    try:
        link._out = queue.Queue(WAITING)
        for _ in range(WAITING):
            asked = link.ask("directory", "beat")
            link._out.get()
            asked.cancel()
        kept = link.ask("directory", "beat")
        assert list(link._asked.values()) == [kept]
        link._answer(next(iter(link._asked)), "told", "")
        assert kept.result(1) == "told"
    finally:
        link.close()
