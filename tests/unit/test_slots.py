from __future__ import annotations

import asyncio
import threading

from server.media.slot import AsyncSlot, Slot


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


async def test_a_coroutine_gets_the_newest_from_another_thread() -> None:
    slot: AsyncSlot[int] = AsyncSlot(asyncio.get_running_loop())
    waiting = asyncio.create_task(slot.get())
    await asyncio.sleep(0)
    await asyncio.to_thread(slot.put, 1)
    assert await waiting == 1
    for i in (2, 3):
        slot.put(i)
    assert await slot.get() == 3
    assert slot.displaced == 1
    waiting = asyncio.create_task(slot.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    await asyncio.to_thread(slot.close)
    assert await waiting is None
    slot.put(4)
    assert await slot.get() is None
