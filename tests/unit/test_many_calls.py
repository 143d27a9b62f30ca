"""`benchmarks.calls.many_calls`: what it makes of the figures of `hime load`, and where it keeps processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.calls.many_calls import _told, shown
from benchmarks.shared.relays import kept_to
from server.client.load import report
from tests.unit.test_load import a_step, figures


def test_steps_become_rows_and_the_last_that_is_held_counts(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [a_step(figures(0)), a_step(figures(0), figures(1, frames=50))]
    told = shown("enhanced 320x180", [_told(step) for step in report.document(steps, {}, 20.0)["steps"]])
    assert (told["held"], told["all_steps_held"], told["calls_per_core"]) == (1, False, None)
    assert [(step["calls"], step["held"]) for step in told["steps"]] == [(1, True), (2, False)]
    assert "held: 1, with – cores" in capsys.readouterr().out


def test_a_process_is_kept_to_its_processors() -> None:
    own = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=kept_to(str(own)))
    assert done.stdout.strip() == str({own})
    assert kept_to("") is None
    for cores, says in (("one", "no list of numbers"), ("9999", "no processor 9999")):
        with pytest.raises(ValueError, match=says):
            kept_to(cores)
