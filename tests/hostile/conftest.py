"""Counts the cases, and says how many there were."""

from __future__ import annotations

from collections import Counter

import pytest

_CASES: Counter[str] = Counter()


@pytest.fixture
def cases() -> Counter[str]:
    """Cases so far, by kind."""
    return _CASES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _CASES:
        kinds = ", ".join(f"{kind} {count}" for kind, count in _CASES.items())
        terminalreporter.write_line(f"hostile input: {sum(_CASES.values())} cases: {kinds}")
