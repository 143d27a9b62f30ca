"""Calls on loopback that step down together where frames are late, and come back; with real codecs and threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from benchmarks.shared.peers import MovingVideo, Peer, Relay, serving, until
from hime_core.stream.ladder import LADDER
from server.load import pace
from server.load.felt import Lateness

NAMES = ("ann", "bob", "cy")
LAST = len(LADDER) - 1
CALMLY, BADLY = Lateness(0.0, 0.0), Lateness(0.6, 0.6)


@asynccontextmanager
async def looked_at(relay: Relay) -> AsyncIterator[list[list[int]]]:
    """All streams' levels, at each look at the load."""
    seen: list[list[int]] = []
    step = relay.load._step

    def looked(late: Lateness) -> None:
        step(late)
        seen.append(levels(relay))

    relay.load._step = looked  # type: ignore[method-assign]
    task = asyncio.create_task(relay.load.run())
    try:
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def levels(relay: Relay) -> list[int]:
    return [LADDER.index(stream.rung) for stream in relay.load._fairness.streams]


async def called(relay: Relay, view: str = "enhanced", layout: str = "upscale") -> list[Peer]:
    """The watchers of one call each."""
    watchers = []
    for name in NAMES:
        await relay.peer().publish(f"/whip/r/{name}", MovingVideo())
        watchers.append(await relay.peer().watch(f"/whep/r/{name}?view={view}&layout={layout}", ("video",)))
    await until(lambda: all(watcher.frames for watcher in watchers), what="a picture for everybody")
    return watchers


def sizes(watchers: list[Peer]) -> set[tuple[int, int]]:
    """Of the newest frames."""
    return {watcher.frames[-1].size for watcher in watchers}


async def test_calls_step_down_together_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "CALM", (0.2, 60.0))
    async with serving() as relay:
        watchers = await called(relay)
        felt = CALMLY
        monkeypatch.setattr(relay.load._felt, "now", lambda: felt)
        async with looked_at(relay) as seen:
            await until(lambda: sizes(watchers) == {(1280, 720)}, what="enlarged pictures")
            felt = BADLY
            await until(lambda: levels(relay) == [LAST] * 3, what="all on the last rung")
            await until(lambda: sizes(watchers) == {(320, 180)}, what="pictures of their own size")
            before = [len(watcher.frames) for watcher in watchers]
            await until(lambda: all(len(w.frames) >= b + 20 for w, b in zip(watchers, before, strict=True)))
            passed = relay.total("hime_frames_total", outcome="passed")
            assert passed >= 60  # as they came: their enhancers are no longer asked
            felt = CALMLY
            await until(lambda: levels(relay) == [0] * 3, 60, what="all with everything again")
            await until(lambda: sizes(watchers) == {(1280, 720)}, what="enlarged pictures again")
        assert all(max(each) - min(each) <= 1 for each in seen)
        assert relay.total("hime_shed_steps_total", direction="down") == 3 * LAST
        assert relay.total("hime_shed_steps_total", direction="up") == 3 * LAST
        for enhancer in relay.enhancers:
            assert enhancer.rested > 0
            assert {rung.name for rung in enhancer.rungs} == {
                "whole",
                "references_1",
                "half_rate",
                "quarter_rate",
                "passed",
            }
        await asyncio.gather(*(peer.leave() for peer in relay.peers))
        await until(lambda: not relay.load._fairness.streams, what="nobody left")


async def test_original_views_of_their_own_size_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as relay:
        watchers = await called(relay, "original", "native")
        monkeypatch.setattr(relay.load._felt, "now", lambda: BADLY)
        async with looked_at(relay):
            await until(lambda: levels(relay) == [LAST] * 3, what="all on the last rung")
            before = [len(watcher.frames) for watcher in watchers]
            await until(lambda: all(len(w.frames) >= b + 20 for w, b in zip(watchers, before, strict=True)))
        assert sizes(watchers) == {(320, 180)}
        assert {shown.size for watcher in watchers for shown in watcher.frames} == {(320, 180)}
