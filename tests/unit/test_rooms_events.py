from __future__ import annotations

import asyncio

from server.rooms.events import BACKLOG, Event, Events


async def test_a_listener_gets_what_was_there_first_and_then_what_comes() -> None:
    events = Events()
    listening = events.subscribe([Event("joined", {"participant": "ann"})])
    events.send("left", {"participant": "ann"})
    assert [(await anext(listening)).name for _ in range(2)] == ["joined", "left"]
    events.close()
    assert [event async for event in listening] == []
    assert not events


async def test_a_listener_that_falls_behind_is_dropped_and_the_others_are_not() -> None:
    events = Events()
    slow, quick = events.subscribe(), events.subscribe()
    for number in range(BACKLOG + 10):
        events.send("stats", {"number": number})
        assert (await anext(quick)).data == {"number": number}
    assert len([event async for event in slow]) == BACKLOG + 1
    assert events


async def test_a_listener_that_stops_is_forgotten() -> None:
    events = Events()
    listening = events.subscribe()
    waiting = asyncio.ensure_future(anext(listening))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not events
