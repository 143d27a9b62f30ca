"""Every operation of our own OpenAPI document: whatever is asked, the answer is a documented one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.hostile.http import PROBLEM, check_all, documented, served

EACH = 20


@pytest.mark.filterwarnings("ignore")
def test_every_answer_is_documented(tmp_path: Path, cases: Counter[str]) -> None:
    with served(tmp_path) as relay:
        check_all(relay, EACH, lambda: cases.update(["HTTP requests"]))
        assert not relay.errors
    assert cases["HTTP requests"] > 10 * EACH


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (500, PROBLEM, {"title": "Internal Server Error", "status": 500, "detail": "x"}),
        (400, "text/plain", {"title": "Bad Request", "status": 400, "detail": "x"}),
        (400, PROBLEM, {"title": "Bad Request", "status": 404, "detail": "x"}),
        (400, PROBLEM, {"title": "Bad Request", "status": 400, "detail": "Traceback (most recent call last)"}),
    ],
)
def test_an_answer_that_is_not_would_be_seen(status: int, kind: str, body: dict[str, object]) -> None:
    answer = SimpleNamespace(status_code=status, headers={"content-type": kind}, text="", json=lambda: body)
    with pytest.raises(AssertionError):
        documented(answer)
