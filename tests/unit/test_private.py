"""Files with secrets come whole, for their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.private import write_private


@pytest.fixture(autouse=True)
def open_to_all():
    """What new files allow unless they are made for their owner."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_the_first_file_counts_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "first")
    write_private(path, "second")
    assert path.read_text() == "first" and path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("first")
    write_private(path, "second", replace=True)
    assert path.read_text() == "second" and path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_one_that_fails_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "secret"
    write_private(path, "first")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(path, "second", replace=True)
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]
