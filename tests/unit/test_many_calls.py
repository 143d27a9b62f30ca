"""`benchmarks.calls.many_calls`: what it makes of the figures of `hime load`, and where it keeps processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.calls.many_calls import _told, shown
from benchmarks.shared.fresh import Fresh
from benchmarks.shared.relays import kept_to
from server.client.load import report
from tests.unit.test_load import a_step, figures


def test_steps_become_rows_and_the_last_that_is_held_counts(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [a_step(figures(0)), a_step(figures(0), figures(1, frames=50))]
    told = shown("enhanced 320x180", [_told(step, [0.5, 0.25]) for step in report.document(steps, {}, 20.0)["steps"]])
    assert (told["held"], told["all_steps_held"], told["calls_per_core"]) == (1, False, None)
    assert [(step["calls"], step["held"]) for step in told["steps"]] == [(1, True), (2, False)]
    assert {(step["fresh_least"], step["fresh_most"]) for step in told["steps"]} == {(0.25, 0.5)}
    assert "held: 1, with – cores" in capsys.readouterr().out


def test_shares_are_those_of_the_last_seconds_with_so_many_calls() -> None:
    fresh = Fresh("http://localhost")
    for at in range(10):
        told = {1: {"enhanced": 10 * at, "passed": 15 * at}, 2: {"enhanced": 0, "passed": 25 * at}}
        fresh.add(float(at), told if at < 6 else {1: told[1]})
    assert fresh.shares(2, 3.0) == [0.4, 0.0] and fresh.shares(1, 100.0) == [0.4]
    assert fresh.shares(3, 3.0) == []


def test_a_process_is_kept_to_its_processors() -> None:
    own = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=kept_to(str(own)))
    assert done.stdout.strip() == str({own})
    assert kept_to("") is None
    for cores, says in (("one", "no list of numbers"), ("9999", "no processor 9999")):
        with pytest.raises(ValueError, match=says):
            kept_to(cores)
