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
    assert slot.close() == 0
    consumer.join(5)
    assert got == [None]
    assert slot.put(1) is True  # nobody will take it
    assert slot.get() is None

    full: Slot[int] = Slot()
    full.put(1)
    assert full.close() == 1
    assert full.close() == 0


def test_with_room_for_two_the_oldest_is_displaced_and_order_kept() -> None:
    slot: Slot[int] = Slot(2)
    assert [slot.put(i) for i in (1, 2, 3)] == [False, False, True]
    assert [slot.get(), slot.get()] == [2, 3]
    assert slot.displaced == 1
    slot.put(4)
    slot.put(5)
    assert slot.close() == 2
    assert slot.get() is None
