"""Watchers on paths that differ, over real connections. `python -m benchmarks.calls.two_watchers` prints figures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.shared.forwarder import Path, forwarding
from benchmarks.shared.peers import Relay, TexturedVideo, serving, until
from benchmarks.shared.reporting import AskingPeer, ReportingPeer

VIEW = "/whep/r/ann?view=original&layout=native"
WIDE, NARROW = 4_000_000, 300_000


@asynccontextmanager
async def call(kind: type[AskingPeer], *rates: float) -> AsyncIterator[tuple[Relay, list[AskingPeer]]]:
    """A publisher, and a watcher on a path of each rate, who join one after the other."""
    async with forwarding(seed=1) as one, forwarding(seed=2) as other, serving() as relay:
        await relay.peer().publish("/whip/r/ann", TexturedVideo(640, 360))
        await until(lambda: (room := relay.rooms.get("r")) and room.participants["ann"].joined, 30, "the publisher")
        watchers = []
        for forwarder, rate in zip((one, other), rates, strict=False):
            forwarder.impair(Path(), back=Path(rate=rate))
            watcher = kind(relay.http, forwarder)
            relay.peers.append(watcher)
            watchers.append(await watcher.watch(VIEW, ("video",)))
            await until(lambda watcher=watcher: watcher.frames, 60, "the picture")  # by estimates, it takes up to 25 s
        yield relay, watchers


def target(relay: Relay) -> int:
    """Of the full layer, bit/s."""
    (watched,) = relay.rooms.get("r").participants["ann"].video.views.watched.values()
    (stream,) = watched.streams.values()
    return stream.full.target.value


@pytest.mark.parametrize("kind", [ReportingPeer, AskingPeer], ids=["arrivals", "estimates"])
async def test_a_poor_watcher_sees_a_smaller_picture_and_the_other_the_whole(kind: type[AskingPeer]) -> None:
    async with call(kind, WIDE, NARROW) as (relay, (wide, narrow)):
        await until(lambda: narrow.frames[-1].size == (320, 180), 30, "the smaller picture")
        await until(lambda: target(relay) >= 1_500_000, 30, "a good picture of the other")
        seen, others = len(narrow.frames), len(wide.frames)
        await asyncio.sleep(6)
        assert len(narrow.frames) - seen > 0.5 * (len(wide.frames) - others)
        assert {frame.size for frame in narrow.frames[seen:]} == {(320, 180)}
        assert {frame.size for frame in wide.frames[others:]} == {(640, 360)}
        # a machine that stands still for a moment delays packets, which counts as a narrower path until it is over
        await until(lambda: target(relay) >= 1_500_000, 15, "the other's good picture")


async def test_a_path_that_is_narrow_from_the_start_shows_a_picture_and_one_that_widens_all_of_it() -> None:
    async with call(ReportingPeer, NARROW) as (relay, (watcher,)):
        await asyncio.sleep(3)
        seen = len(watcher.frames)
        await asyncio.sleep(5)
        assert len(watcher.frames) - seen > 50
        assert target(relay) <= 450_000
        watcher.forwarder.impair(Path(), back=Path(rate=WIDE))
        await until(lambda: target(relay) >= 1_500_000, 60, "more of it")
        await until(lambda: watcher.frames[-1].size == (640, 360), 20, "the whole picture")
