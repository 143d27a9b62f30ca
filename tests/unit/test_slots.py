from __future__ import annotations

import threading

from server.media.slot import Slot


def test_the_newest_wins_and_what_it_displaced_is_counted() -> None:
    slot: Slot[int] = Slot()
    assert [slot.put(i) for i in (1, 2, 3)] == [False, True, True]
    assert slot.get() == 3
    assert slot.put(4) is False
    assert slot.displaced == 2


def test_closing_wakes_the_consumer_and_tells_what_was_left() -> None:
    slot: Slot[int] = Slot()
    got: list[int | None] = []
    consumer = threading.Thread(target=lambda: got.append(slot.get()))
    consumer.start()
    assert slot.close() is False
    consumer.join(5)
    assert got == [None]
    assert slot.put(1) is True  # nobody will take it
    assert slot.get() is None

    full: Slot[int] = Slot()
    full.put(1)
    assert full.close() is True
    assert full.close() is False
