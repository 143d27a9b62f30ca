"""`make audit`: vulnerabilities fail it, a registry that does not answer does not."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).resolve().parents[2] / ".ci" / "audit.py"

UNASKED = {"dependencies": [{"name": "a", "skip_reason": "not found"}]}
CLEAN = {"dependencies": [{"name": "a", "version": "1", "vulns": []}]}
FLAWED = {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-0000-1"}]}]}


@pytest.mark.parametrize(
    ("python", "npm", "code", "says"),
    [
        (UNASKED, None, 0, "PyPI's advisories are not to be had"),
        (CLEAN, {"error": {"summary": "405"}}, 0, "1 of 1 Python packages"),
        (CLEAN, {"vulnerabilities": {}}, 0, "the page's packages were looked up"),
        (FLAWED, {"vulnerabilities": {}}, 1, "vulnerable: a 1: CVE-0000-1"),
        (None, {"vulnerabilities": {"vite": {"severity": "high"}}}, 1, "vulnerable: vite (npm, high)"),
    ],
)
def test_what_the_registries_say_decides(
    python: dict[str, Any] | None,
    npm: dict[str, Any] | None,
    code: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    audit = runpy.run_path(str(AUDIT))
    answers = {"npm": npm}
    audit["main"].__globals__["_json"] = lambda command: answers.get(command[0], python)
    assert audit["main"]() == code
    assert says in capsys.readouterr().out
