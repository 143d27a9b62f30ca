"""Memory is given back by one thread at a time, however many streams end at once."""

from __future__ import annotations

import gc
import threading

import pytest

from server.memory import give_back_memory


def test_many_at_once_are_two_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, collected = threading.Event(), threading.Event(), []

    def collect() -> int:
        collected.append(threading.get_ident())
        begun.set()
        assert go_on.wait(20)
        return 0

    monkeypatch.setattr(gc, "collect", collect)
    first = threading.Thread(target=give_back_memory)
    first.start()
    assert begun.wait(20)
    others = [threading.Thread(target=give_back_memory) for _ in range(40)]
    for one in others:
        one.start()
    for one in others:
        one.join(20)
        assert not one.is_alive()  # it does not wait for the collection
    go_on.set()
    first.join(20)
    assert collected == [first.ident] * 2  # once more, for those who asked meanwhile
    give_back_memory()
    assert len(collected) == 3
