"""A link where there is no Ray."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

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


AGENT = """
import sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[-1]))
connection.recv()
connection.send((0, None, ""))
while True:
    number, actor, *rest = connection.recv()
    if actor != "hangs":
        connection.send((number, actor, "RaySystemError" if actor == "fails" else ""))
"""


def test_a_process_that_answers_nothing_any_longer_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when Ray's head has come back as another one."""
    started, popen = list[int](), subprocess.Popen

    def agent(command: list[str], **options: Any) -> Any:
        started.append(1)
        return popen([command[0], "-c", AGENT, command[-1]], **options)

    monkeypatch.setattr(subprocess, "Popen", agent)
    for name, seconds in (("FIRST_PAUSE", 0.01), ("LOOK", 0.05), ("FIRST_PATIENCE", 0.3)):
        monkeypatch.setattr(module, name, seconds)
    failures: list[str] = []
    link = Link(Orders("auto", "test"), lambda: failures.append("cluster"))
    link._patience = 0.3
    try:
        wait(lambda: link.there)
        for _ in range(10):  # one that is silent beside others that answer is only that
            silent = link.ask("hangs", "x")
            assert link.ask("answers", "x").result(10) == "answers"
            time.sleep(0.05)
        assert len(started) == 1 and not silent.done()
        last = link.ask("hangs", "x")
        with pytest.raises(ClusterAway, match="RaySystemError"):  # is no answer of an actor
            link.ask("fails", "x").result(10)
        with pytest.raises(ClusterAway):
            last.result(10)
        wait(lambda: link.incarnation == 2)
        assert failures == ["cluster"]
        assert link._patience == 0.6
        assert link.ask("answers", "x").result(10) == "answers"
        assert link._patience == 0.3
    finally:
        link.close()


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
